"""Everything a recipe can name, one line each. Nothing is imported until it is used.

A new method, network or view is one file and one line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diabolo.components import Entry, Table
from diabolo.shelf import Shelf


@dataclass(frozen=True)
class MethodEntry(Entry):
    """A method: the settings its name stands for, and what it changes in the rest of the recipe."""

    family: str = "generative"  # or "discriminative", "reference"
    recipe: Mapping[str, Any] = field(default_factory=dict)


AUTOENCODER = "diabolo.methods.autoencoder:Autoencoder"
POINT: Mapping[str, Any] = {"posterior": "point", "prior": "none"}
VARIATIONAL: Mapping[str, Any] = {"posterior": "gaussian", "prior": "standard-normal"}
AUGMENTED: Mapping[str, Any] = {"views": {"transforms": "simclr"}, "evaluation": {"space": "h"}}
PAIRS: Mapping[str, Any] = {"views": {"count": 2, "transforms": "simclr"}}

METHODS = Table(
    "method",
    {
        "linear-ae": MethodEntry(
            AUTOENCODER,
            "Linear autoencoder: spans the principal subspace (Bourlard & Kamp 1988)",
            POINT,
            recipe={"encoder": "linear", "decoder": "linear"},
        ),
        "ae": MethodEntry(AUTOENCODER, "Autoencoder: compress and reconstruct", POINT),
        "denoising-ae": MethodEntry(
            AUTOENCODER,
            "Denoising autoencoder: reconstruct the original from a corrupted view (Vincent et al. 2008)",
            {**POINT, "target": "original"},
            recipe={"views": {"transforms": [{"name": "gaussian-noise", "scale": 0.3}]}},
        ),
        "sparse-ae": MethodEntry(
            AUTOENCODER, "Sparse autoencoder: few active codes", {**POINT, "penalties": ["l1"]}
        ),
        "contractive-ae": MethodEntry(
            AUTOENCODER,
            "Contractive autoencoder: codes that hardly move with the input (Rifai et al. 2011)",
            {**POINT, "penalties": ["contraction"]},
            recipe={"encoder": "mlp"},  # without batch norm
        ),
        "aaae": MethodEntry(
            AUTOENCODER,
            "Augmentation-augmented autoencoder: AAVAE without noise in the code (Falcon et al. 2021)",
            {**POINT, "target": "original"},
            recipe=AUGMENTED,
        ),
        "vae": MethodEntry(AUTOENCODER, "Variational autoencoder (Kingma & Welling 2014)", VARIATIONAL),
        "beta-vae": MethodEntry(
            AUTOENCODER,
            "VAE with a heavier prior, for disentangled codes (Higgins et al. 2017)",
            {**VARIATIONAL, "beta": 4.0},
        ),
        "cr-vae": MethodEntry(
            AUTOENCODER,
            "VAE whose posterior agrees for an image and its view (Sinha & Dieng 2021)",
            {**VARIATIONAL, "with_original": True, "penalties": ["consistency"]},
            recipe={"views": {"transforms": "simvae"}},
        ),
        "aavae": MethodEntry(
            AUTOENCODER,
            "Decode the original from a noisy code of an augmented view (Falcon et al. 2021)",
            {"posterior": "gaussian", "prior": "none", "target": "original"},
            recipe=AUGMENTED,
        ),
        "simvae": MethodEntry(
            AUTOENCODER,
            "VAE whose prior clusters the views of an example (Bizeul et al. 2024)",
            {"posterior": "gaussian", "prior": "cluster"},
            recipe={"views": {"count": 10, "transforms": "simvae"}},
        ),
        "simclr": MethodEntry(
            "diabolo.methods.simclr:SimCLR",
            "Tell two views of one image from all others in the batch (Chen et al. 2020)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "moco": MethodEntry(
            "diabolo.methods.moco:MoCo",
            "Contrast with a queue of a momentum network's keys (He et al. 2020, v2)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "vicreg": MethodEntry(
            "diabolo.methods.vicreg:VICReg",
            "Views agree; each embedding dimension varies, and on its own (Bardes et al. 2022)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "barlow-twins": MethodEntry(
            "diabolo.methods.barlow_twins:BarlowTwins",
            "Make the correlation of two views' embeddings the identity (Zbontar et al. 2021)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "byol": MethodEntry(
            "diabolo.methods.byol:BYOL",
            "Predict what a momentum network makes of the other view (Grill et al. 2020)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "simsiam": MethodEntry(
            "diabolo.methods.simsiam:SimSiam",
            "Predict the other view's projection, whose gradient is stopped (Chen & He 2021)",
            family="discriminative",
            recipe={**PAIRS, "optimiser": "sgd", "schedule": "cosine"},
        ),
        "lejepa": MethodEntry(
            "diabolo.methods.lejepa:LeJEPA",
            "Views agree, and embeddings follow a standard normal (Balestriero & LeCun 2025)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "swav": MethodEntry(
            "diabolo.methods.swav:SwAV",
            "Predict another view's share in balanced prototypes (Caron et al. 2020)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "dino": MethodEntry(
            "diabolo.methods.dino:DINO",
            "Predict what a slow teacher says of another view (Caron et al. 2021)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "deepcluster": MethodEntry(
            "diabolo.methods.deepcluster:DeepCluster",
            "Classify views by clusters of all embeddings, renewed each epoch (Caron et al. 2020, v2)",
            family="discriminative",
            recipe=PAIRS,
        ),
        "instance-discrimination": MethodEntry(
            "diabolo.methods.instance_discrimination:InstanceDiscrimination",
            "One class per training image, against stored embeddings (Wu et al. 2018)",
            family="discriminative",
            recipe={"views": {"transforms": "simclr"}},
        ),
        "rotnet": MethodEntry(
            "diabolo.methods.rotnet:RotNet",
            "Tell by which quarter turn an image was rotated (Gidaris et al. 2018)",
            family="discriminative",
            recipe={"views": {"transforms": "simclr"}},
        ),
        "mae": MethodEntry(
            "diabolo.methods.mae:MAE",
            "Masked autoencoder: predict hidden patches from a quarter of them (He et al. 2022)",
            recipe={"encoder": "vit", "optimiser": {"name": "adamw", "betas": [0.9, 0.95]}},
        ),
        "supervised": MethodEntry(
            "diabolo.methods.supervised:Supervised",
            "Cross-entropy with labels: the upper reference",
            family="reference",
        ),
        "random": MethodEntry(
            "diabolo.methods.random:Random",
            "Untrained encoder with batch-norm statistics of the data: the lower reference",
            family="reference",
            recipe={"training": {"epochs": 0}},
        ),
    },
)

ENCODERS = Table(
    "encoder",
    {
        "linear": Entry("diabolo.networks.mlp:LinearEncoder", "One linear layer"),
        "mlp": Entry("diabolo.networks.mlp:MLPEncoder", "Fully connected layers with ReLU"),
        "conv": Entry("diabolo.networks.conv:ConvEncoder", "Three strided convolutions (Mancini)"),
        "resnet18": Entry("diabolo.networks.resnet:ResNet", "ResNet-18 (He et al. 2016)", {"depth": 18}),
        "resnet34": Entry("diabolo.networks.resnet:ResNet", "ResNet-34", {"depth": 34}),
        "resnet50": Entry("diabolo.networks.resnet:ResNet", "ResNet-50", {"depth": 50}),
        "simvae-resnet": Entry(
            "diabolo.networks.simvae:SimVAEEncoder", "SimVAE's small ResNet (its Table 4a)"
        ),
        "simvae-resnet-as-coded": Entry(
            "diabolo.networks.simvae_as_coded:SimVAEEncoderAsCoded", "SimVAE's code: a ResNet of three stages"
        ),
        "vit": Entry("diabolo.networks.vit:ViT", "Vision transformer (Dosovitskiy et al. 2021)"),
        "timm": Entry("diabolo.networks.timm:TimmEncoder", "Any timm backbone, by its name there"),
    },
)

DECODERS = Table(
    "decoder",
    {
        "linear": Entry("diabolo.networks.mlp:LinearDecoder", "One linear layer"),
        "mlp": Entry("diabolo.networks.mlp:MLPDecoder", "Fully connected layers with ReLU"),
        "conv": Entry("diabolo.networks.conv:ConvDecoder", "Mirror of the conv encoder"),
        "resnet": Entry(
            "diabolo.networks.resnet_decoder:ResNetDecoder", "Mirrored ResNet without batch norm (AAVAE)"
        ),
        "resize-conv": Entry(
            "diabolo.networks.conv:ResizeConvDecoder", "Upsample and convolve (Goncharov & Soboleva)"
        ),
        "simvae-resnet": Entry(
            "diabolo.networks.simvae:SimVAEDecoder", "Mirror of SimVAE's ResNet (its Table 4b)"
        ),
        "simvae-resnet-as-coded": Entry(
            "diabolo.networks.simvae_as_coded:SimVAEDecoderAsCoded", "The decoder of SimVAE's code"
        ),
    },
)

VIEWS = Table(
    "view",
    {
        "random-resized-crop": Entry(
            "diabolo.views.geometry:RandomResizedCrop", "Crop a random area, resize it"
        ),
        "horizontal-flip": Entry("diabolo.views.geometry:HorizontalFlip", "Mirror left and right"),
        "vertical-flip": Entry("diabolo.views.geometry:VerticalFlip", "Mirror top and bottom"),
        "rotation": Entry("diabolo.views.geometry:Rotation", "Rotate about the centre"),
        "translation": Entry("diabolo.views.geometry:Translation", "Shift by a share of the side"),
        "colour-jitter": Entry("diabolo.views.colour:ColourJitter", "Brightness, contrast, saturation, hue"),
        "grayscale": Entry("diabolo.views.colour:Grayscale", "Drop the colour"),
        "gaussian-blur": Entry("diabolo.views.colour:GaussianBlur", "Blur with a Gaussian kernel"),
        "gaussian-noise": Entry("diabolo.views.noise:GaussianNoise", "Add normal noise, not clipped"),
        "masking": Entry("diabolo.views.noise:Masking", "Set random pixels to zero"),
        "salt-and-pepper": Entry("diabolo.views.noise:SaltAndPepper", "Set random pixels to zero or one"),
        "threshold": Entry("diabolo.views.noise:Threshold", "Binarise at a fixed value"),
        "sampled-binarisation": Entry(
            "diabolo.views.noise:SampledBinarisation", "Draw each pixel as a Bernoulli"
        ),
        "dequantisation": Entry("diabolo.views.noise:Dequantisation", "Add noise within each grey level"),
    },
)

PRIORS = Table(
    "prior",
    {
        "none": Entry("diabolo.latents:NoPrior", "No prior and no entropy"),
        "standard-normal": Entry("diabolo.latents:StandardNormal", "N(0, I)"),
        "cluster": Entry("diabolo.latents:Cluster", "The views of an example share a cluster (SimVAE eq. 9)"),
    },
)

LIKELIHOODS = Table(
    "likelihood",
    {
        "gaussian": Entry(
            "diabolo.likelihoods:Gaussian", "Normal, with fixed, learned or per-pixel variance"
        ),
        "bernoulli": Entry("diabolo.likelihoods:Bernoulli", "Bernoulli from logits"),
        "categorical": Entry("diabolo.likelihoods:Categorical", "A softmax over the 256 levels of a pixel"),
        "discretised-logistic": Entry(
            "diabolo.likelihoods:DiscretisedLogistic", "A logistic's mass in the 256 levels of a pixel"
        ),
        "squared-error-as-coded": Entry(
            "diabolo.likelihoods:SquaredErrorAsCoded", "½ · squared error / v, no density (SimVAE's code)"
        ),
        "cross-entropy-as-coded": Entry(
            "diabolo.likelihoods:CrossEntropyAsCoded",
            "Binary cross-entropy / v, no density (SimVAE's code)",
        ),
    },
)

PENALTIES = Table(
    "penalty",
    {
        "l1": Entry("diabolo.penalties:L1", "The sum of absolute codes (sparse autoencoder)"),
        "kl-sparsity": Entry("diabolo.penalties:KLSparsity", "Rare activity of each sigmoid code"),
        "contraction": Entry(
            "diabolo.penalties:Contraction", "The squared Jacobian of the code (Rifai 2011)"
        ),
        "consistency": Entry(
            "diabolo.penalties:Consistency", "KL between a view's posterior and its original's (CR-VAE)"
        ),
    },
)

OPTIMISERS = Table(
    "optimiser",
    {
        "adam": Entry("diabolo.training.optimisers:adam", "Adam"),
        "adamw": Entry("diabolo.training.optimisers:adamw", "Adam with decoupled weight decay"),
        "sgd": Entry("diabolo.training.optimisers:sgd", "SGD with Nesterov momentum"),
        "lars": Entry("diabolo.training.optimisers:LARS", "Layer-wise adaptive rates (You et al. 2017)"),
    },
)

SCHEDULES = Table(
    "schedule",
    {
        "constant": Entry("diabolo.training.schedules:Constant", "Linear warm-up, then constant"),
        "cosine": Entry("diabolo.training.schedules:Cosine", "Linear warm-up, then a cosine to zero"),
    },
)

PROBES = Table(
    "probe",
    {
        "linear": Entry("diabolo.evaluation.probes:Linear", "Multinomial logistic regression"),
        "mlp": Entry("diabolo.evaluation.probes:MLP", "A small network on frozen features"),
        "knn": Entry("diabolo.evaluation.probes:KNN", "Vote of the nearest neighbours"),
        "few-shot": Entry("diabolo.evaluation.few_shot:FewShot", "Ridge classifier on a few labels"),
        "sgd-linear": Entry(
            "diabolo.evaluation.probes:MLP",
            "A linear layer by SGD on features of whole images (as crop-linear, quicker)",
            {"hidden": [], "optimiser": "sgd", "lr": 0.1, "cosine": True, "epochs": 90, "select": "last"},
        ),
        "adam-linear": Entry(
            "diabolo.evaluation.probes:MLP",
            "A linear layer by Adam (SimVAE's protocol)",
            {
                "hidden": [],
                "lr": 3e-4,
                "batch_size": 128,
                "epochs": 200,
                "select": "last",
                "standardise": False,
            },
        ),
        "gmm": Entry("diabolo.evaluation.clustering:GMM", "Gaussian mixture, fitted without labels"),
        "kmeans": Entry("diabolo.evaluation.clustering:KMeans", "k-means, fitted without labels"),
        "attributes": Entry("diabolo.evaluation.attributes:Attributes", "A logistic head for each attribute"),
        "ridge": Entry("diabolo.evaluation.quantities:Quantities", "Ridge regression of real-valued targets"),
        "retrieval": Entry("diabolo.evaluation.retrieval:Retrieval", "Precision among the nearest of train"),
        "crop-linear": Entry(
            "diabolo.evaluation.finetune:Finetune",
            "A linear layer by SGD on crops and flips, the encoder frozen (AAVAE's protocol)",
            {
                "hidden": [],
                "frozen": True,
                "views": ["random-resized-crop", "horizontal-flip"],
                "optimiser": "sgd",
                "lr": 0.1,
                "cosine": True,
                "batch_size": 256,
                "lr_batch": 256,
                "epochs": 90,
            },
        ),
        "finetune": Entry("diabolo.evaluation.finetune:Finetune", "The same head, training the encoder too"),
    },
)

MEASURES = Table(
    "measure",
    {
        "reconstruction": Entry("diabolo.evaluation.quality:Reconstruction", "MSE, PSNR and SSIM on test"),
        "bound": Entry("diabolo.evaluation.bound:Bound", "Bound on −log p(x), by importance sampling"),
        "copying": Entry("diabolo.evaluation.quality:Copying", "Reconstructions of shuffled pixels"),
        "frechet": Entry(
            "diabolo.evaluation.frechet:Frechet", "Fréchet distance of generated images, by an extractor"
        ),
        "style": Entry("diabolo.evaluation.style:Style", "Known changes read back from the representation"),
        "pca-subspace": Entry("diabolo.evaluation.subspace:PCASubspace", "Reconstructions beside PCA's"),
        "denoising": Entry("diabolo.evaluation.denoising:Denoising", "PSNR beside PCA and a Wiener filter"),
        "anomaly": Entry("diabolo.evaluation.anomaly:Anomaly", "AUROC for the classes of data.without"),
        "similarity": Entry("diabolo.evaluation.similarity:Similarity", "Cosines between views of images"),
        "latents": Entry("diabolo.evaluation.latents:Latents", "Active units, and the KL of each dimension"),
    },
)

SUITES = Shelf("suite", "suites", ":")
