"""What each part of an analysis shows, and how to read it."""

LANDSCAPE_WORDS = (
    "How far the logits are from full precision when the scales of one block are moved together, on calibration "
    "images (solid) and held-out ones (dashed). 1 is the loss at the trial's scales, 0 the loss of full precision "
    "against itself, which a contrastive loss can fall below. A search gains what lies below 1 on solid lines; it "
    "keeps of that what lies below 1 on dashed ones. The direction of the trial's own search is stretched so that it "
    "began at the dotted line. Over the plane, blue is better than the trial's scales and red is worse; the dot is "
    "the lowest point."
)
DISTRIBUTION_WORDS = (
    "Quantiles of each channel of weights and of what LayerNorms read (in full precision, on held-out images), with "
    "the smallest and largest value of the quantizer in orange. Bars at the right: how many values have each code. "
    "What lies outside the orange lines is cut off; a channel that fills little of the space between them has few "
    "codes."
)
ATTENTION_WORDS = (
    "Ranks of the keys of every query in both precisions, over the held-out images: their mean absolute difference as "
    "a share of the keys (Quantformer keeps the order of attention), and how many queries look first at another "
    "token. Maps: what the class token looks at, mean over heads, or how much each patch is looked at where there is "
    "none."
)
CURVE_WORDS = (
    "Records of this store that differ from this trial in one setting and the seed only: dots are records with 95 % "
    "intervals over their images, the line is their mean, the dashed line full precision."
)
