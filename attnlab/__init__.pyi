from .attention.area import iou_of_cells as iou_of_cells
from .attention.area import map_box_iou as map_box_iou
from .attention.gradcam import grad_cam as grad_cam
from .config import AnalyzeConfig as AnalyzeConfig
from .config import EvaluateConfig as EvaluateConfig
from .data import load_data as load_data
from .errors import UserError as UserError
from .interactive import Explanation as Explanation
from .interactive import attack as attack
from .interactive import explain as explain
from .interactive import lime as lime
from .models import Classifier as Classifier
from .models import load_model as load_model
from .pipelines.analyze import analyze as analyze
from .pipelines.evaluate import evaluate as evaluate
from .records import read_records as read_records
from .report.page.write import write_report as write_report
from .report.tables.export import make_report as make_report
from .runs import Run as Run

__version__: str
