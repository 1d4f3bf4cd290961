"""Image sets: decoded or streamed, the catalogue of known ones, the embedded test-bed, styles."""

from advlook.data.catalogue import CATALOGUE, TABLE_3, table_3
from advlook.data.image_sets import ImageSet, load_set, to_bytes, to_float
from advlook.data.layouts import list_images
from advlook.data.streaming import Images, StreamedImages, TrainingImages
from advlook.data.styles import Styles
