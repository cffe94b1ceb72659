"""VICReg: two views give one embedding, whose features vary over the batch and do not repeat each other."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import contrastiveseg as cs
from contrastiveseg.data.augment_intensity import IntensitySettings
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.methods.method import Optimization
from contrastiveseg.methods.two_views import TwoViews, strong_changes
from contrastiveseg.parameters import Parameters, parameter


@dataclass(frozen=True, kw_only=True)
class VICRegSettings(Parameters):
    invariance: float = parameter(25.0, help="weight of the distance between the views", source="P", above=0)
    variance: float = parameter(25.0, help="weight of the hinge on each feature's deviation", source="P", at_least=0)
    covariance: float = parameter(1.0, help="weight of the covariance between features", source="P", at_least=0)
    width: int = parameter(64, help="features of an embedding", source="A", at_least=1)
    batch: int = parameter(4, help="crops a step", source="A", at_least=2)
    margin: float = parameter(1.15, help="crops are drawn this much larger than the patch", source="A", at_least=1)
    spatial: SpatialSettings = field(default_factory=lambda: SpatialSettings(flip=0.0))
    intensity: IntensitySettings = field(default_factory=lambda: strong_changes(0.4, blur=0.3))


@cs.register_method("vicreg", stage="pretrain")
class VICReg(TwoViews):
    Settings = VICRegSettings
    optimization = Optimization(optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5, schedule="cosine")
    description = "VICReg on the encoder's pooled features: invariance, variance and covariance; no labels."
    citation = "Bardes et al., VICReg, ICLR 2022, arXiv 2105.04906."

    def __init__(self, backbone, plan, settings):
        super().__init__(backbone, plan, settings)
        deep, width = backbone.channels[-1], settings.width
        self.expander = nn.Sequential(nn.Linear(deep, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))

    def step(self, batch):
        views = self.augment_intensity(self.moved_twice(batch.images).images)
        pooled = self.backbone.encode(views)[-1].flatten(2).mean(-1)
        first, second = self.expander(pooled).float().chunk(2)
        terms = {
            "invariance": F.mse_loss(first, second),
            "variance": self.variance(first) + self.variance(second),
            "covariance": self.covariance(first) + self.covariance(second),
        }
        loss = sum(getattr(self.settings, name) * term for name, term in terms.items())
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    @staticmethod
    def variance(rows: Tensor) -> Tensor:
        return F.relu(1 - torch.sqrt(rows.var(0) + 1e-4)).mean() / 2

    @staticmethod
    def covariance(rows: Tensor) -> Tensor:
        matrix = torch.cov(rows.T)
        return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)

    @property
    def transferred(self):
        return ("encoder",)
