"""The first view of MLflow's page: the cells with their scores, not its default columns.

MLflow keeps a view that somebody shares as a tag of the experiment and opens it from a link that names it. Without such
a link it opens a page for language models, and a table without any score.
"""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "dia"
PARAMS = ("model", "attack", "dropout_rate")
METRICS = ("ssim", "psnr", "success", "mask_accuracy")
_TAG = f"mlflow.sharedViewState.{KEY}"

# The state of MLflow's page of runs, which MLflow does not document: as MLflow 3.17.2 has it.
_STATE = {
    "searchFilter": "",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
    "selectedColumns": [
        *(f"params.`{name}`" for name in PARAMS),
        *(f"metrics.`{name}`" for name in METRICS),
    ],
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsHiddenMode": "FIRST_10_RUNS",
    "runsVisibilityMap": {},
    "runListHidden": False,
    "groupBy": None,
    "hideEmptyCharts": True,
    "isAccordionReordered": False,
    "useGroupedValuesInCharts": True,
    "viewMaximized": False,
    "autoRefreshEnabled": False,
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
}


def set_default_view(client: "MlflowClient", experiment: str) -> str:
    """Describe the view in the experiment's tags.

    Args:
        client: The store.
        experiment: The experiment's id.

    Returns:
        The page's address below the server's.
    """
    client.set_experiment_tag(experiment, _TAG, json.dumps(_STATE))
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"
