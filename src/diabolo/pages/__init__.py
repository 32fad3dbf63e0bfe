"""What pages and pictures show, gathered from runs; how it looks is `report`."""
