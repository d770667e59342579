"""What matters in a prompt to a model behind an API: parts are masked, and the change is seen."""

from lens_core.remote.endpoint import Endpoint
from lens_core.remote.estimate import Estimate, remote_estimate
from lens_core.remote.options import RemoteOptions
from lens_core.remote.result import RemoteFeature, RemoteImportance, RemoteStep
from lens_core.remote.run import remote_importance, remote_importance_steps

__all__ = [
    "Endpoint",
    "Estimate",
    "RemoteFeature",
    "RemoteImportance",
    "RemoteOptions",
    "RemoteStep",
    "remote_estimate",
    "remote_importance",
    "remote_importance_steps",
]
