"""Parameters of the named models with 1000 classes, as others publish them.

The hybrids' and ViTs' counts at 224 px are those of vision_transformer's own
`models_test.py` (R26+B/16, which has no published count, comes from the same formula);
those of the batch-norm ResNets are torchvision's.
"""

COUNTS = {  # name: (224 px, 384 px, of the ResNet part)
    "r_vit_ti16": (6_337_704, 6_355_944, 9_536),
    "r26_vit_s32": (36_431_912, 36_468_392, 13_946_176),
    "r26_vit_b32": (101_383_976, 101_456_936, 13_946_176),
    "r50_vit_b16": (98_659_112, 98_950_952, 11_894_848),
    "r50_vit_l32": (328_994_856, 329_092_136, 23_508_032),
    "r26_vit_b16": (92_442_664, 92_734_504, 5_678_400),
    "r26_vit_s16": (27_827_368, 27_973_288, 5_678_400),
    "vit_s16": (22_050_664, 22_196_584, 0),
    "vit_b16": (86_567_656, 86_859_496, 0),
    "vit_l16": (304_326_632, 304_715_752, 0),
    "resnet50": (25_557_032, 25_557_032, 25_557_032 - 2_049_000),
}
