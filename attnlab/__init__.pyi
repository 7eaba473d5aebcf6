from .attention.gradcam import grad_cam as grad_cam
from .attention.map_metrics import map_box_iou as map_box_iou
from .attention.map_metrics import topk_overlap as topk_overlap
from .config import AnalyzeConfig as AnalyzeConfig
from .config import EvaluateConfig as EvaluateConfig
from .config import TrainConfig as TrainConfig
from .data import load_dataset as load_dataset
from .data.resizing import read_batch as read_batch
from .errors import UserError as UserError
from .interactive import Explanation as Explanation
from .interactive import attack as attack
from .interactive import explain as explain
from .interactive import lime as lime
from .models import Classifier as Classifier
from .models import load_model as load_model
from .pipelines.analyze import analyze as analyze
from .pipelines.evaluate import evaluate as evaluate
from .pipelines.train import train as train
from .records import read_evaluation as read_evaluation
from .records import read_records as read_records
from .report.page.write import write_report as write_report
from .report.tables.export import make_tables as make_tables
from .runs import Run as Run

__version__: str
