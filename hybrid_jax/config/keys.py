"""Every key of the configuration tree and its default, once.

Each key has a comment, behind it or on the lines before it: the configuration reference of
the documentation is made of them (`docs/configuration_reference.py`).
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict, config_dict

from hybrid_jax import specs


def tree() -> ConfigDict:
    """Returns a fresh tree with every key, for no model in particular."""
    return ConfigDict(
        dict(
            seed=0,  # of the initial weights, the order of the data, and all random draws
            model=_model(),  # the network and the weights it starts from
            task=_task(),  # what is learned, and augmentation inside the training step
            data=_data(),  # the data set, and what the host does to its images
            train=_train(),  # length of the run and size of a step
            optimizer=_optimizer(),  # the update rule and the learning rate
            hardware=_hardware(),  # values for keys that are None, by kind of device
            # Mesh axes; one of them may be -1: all remaining devices.
            mesh=dict(
                data=-1,  # devices that share the rows of a batch
                fsdp=1,  # devices that share the rows and every large array of the state
                tensor=1,  # devices that share attention heads and hidden units of MLPs
                # Under fsdp, smaller arrays are kept whole.
                fsdp_min_elements=2**12,
            ),
            # Saved states, which a run continues from.
            checkpoint=dict(
                every=1000,  # steps between saves; the last step is always saved
                keep=2,  # newest checkpoints kept
                # The best by this score is kept too. "auto": the task's own; "": none.
                best_metric="auto",
            ),
            # What a run reports while it trains.
            log=dict(
                every=10,  # steps between rows of metrics.jsonl and of the terminal
                tensorboard=True,  # also write TensorBoard event files
                progress=True,  # a progress display where there is a terminal
                report_page=True,  # report.html at the end of a run
            ),
            # Recording by jax.profiler.
            profile=dict(
                # "10:15": a trace of steps 10 to 15, into <workdir>/profile; "": none.
                steps="",
            ),
            # Scores on held-out data.
            eval=dict(
                every=1000,  # steps between evaluations; the last step always is
                split="validation",  # one split, or several: "test,test_noise"
                # None: train.batch_size. Rounded up to what the devices share evenly.
                batch_size=config_dict.placeholder(int),
                restore="best",  # --mode=evaluate: "best" or "last" checkpoint
                image_size=config_dict.placeholder(object),  # None: data.image_size
            ),
        )
    )


def _model() -> dict[str, Any]:
    return dict(
        fusion="sequential",  # the wiring; one of hybrid_jax.list_fusions()
        # Keyword arguments of fusions' constructors, by fusion: those of the chosen one
        # are used, so that `model.fusion` alone can be changed.
        fusion_options=ConfigDict(),
        resnet="r26",  # size: "r" (root block only), "r26", "r50", "r101" or "r152"
        # Fields of the ResNet that differ from its size; None: as the size says.
        resnet_options=_spec_options(specs.ResNetSpec, specs.RESNET_SIZES),
        vit="b",  # size: "ti", "s", "b", "l" or "h"
        # Fields of the ViT that differ from its size; None: as the size says.
        vit_options=_spec_options(specs.ViTSpec, specs.VIT_SIZES),
        head="linear",  # what reads the features; one of hybrid_jax.list_heads()
        head_options=ConfigDict(),  # the same for heads
        normalization="half",  # "half": [-1, 1]; "imagenet": mean and deviation
        dtype="auto",  # "auto": bfloat16 on accelerators, float32 on CPU
        # "xla", "cudnn" (fused; NVIDIA GPUs from Ampere on, sixteen bits), "tokamax"
        # (fused; TPUs and NVIDIA GPUs, an extra to install), or "auto": which of the first
        # two is fastest where the step runs. What a kernel does not take goes through XLA,
        # so all does on a CPU.
        attention="auto",
        # Published weights: a path, hf://owner/name, gs://…, or a name that
        # `list_pretrained()` knows. One file for the whole model, or one for each half.
        pretrained="",
        pretrained_resnet="",  # the same, for the ResNet
        pretrained_vit="",  # the same, for the ViT
        # How published weights are taken over.
        pretrained_options=dict(
            numerics="file",  # how the file's library rounds; "config": as set here
            preprocessing="file",  # its normalization and crop; "config": as set here
            head="auto",  # "auto": kept if its classes are as many, else new; "new"
            grid=(),  # (rows, columns) of its position table, if that cannot be told
            prefix="",  # of the model's arrays, such as "teacher", if the file has others
            strict=True,  # of a whole model, every parameter but the head is in the file
        ),
    )


def _task() -> dict[str, Any]:
    return dict(
        name="classification",  # "classification", "detection" or "segmentation"
        loss="softmax",  # labels: "softmax" or "sigmoid"
        label_smoothing=0.0,  # labels: share of a target that goes to all classes
        flip=0.0,  # probability of a left-right flip
        mixup=0.0,  # Beta parameter; 0.0 is off
        cutmix=0.0,  # Beta parameter; with mixup too, each batch draws one of them
        erase=0.0,  # probability of erasing one random rectangle
        detection=_detection(),  # options of detection
        segmentation=_segmentation(),  # options of segmentation
    )


def _detection() -> dict[str, Any]:
    return dict(
        score_threshold=0.05,  # boxes below are no predictions
        nms_iou=0.6,  # dense heads: of two boxes that overlap more, the better stays
        nms_candidates=1000,  # dense heads: boxes that enter the suppression
        max_detections=100,  # predictions per image
        focal_alpha=0.25,  # weight of the positives in the focal loss
        focal_gamma=2.0,  # exponent of the focal loss; more favors hard examples
        center_radius=1.5,  # dense heads: cells around a center that may claim the object
        class_weight=1.0,  # of the classification loss
        l1_weight=5.0,  # set heads: of the L1 distance of boxes
        giou_weight=2.0,  # of the generalized IoU loss of boxes
        quality_weight=1.0,  # dense heads: of the loss of the predicted IoU
        no_object_weight=0.1,  # set heads with a column for "nothing"
    )


def _segmentation() -> dict[str, Any]:
    return dict(
        auxiliary_weight=0.4,  # of the shallower reading, where the head gives one
        inference="whole",  # or "slide": windows over eval.image_size
        # slide: px (height, width); None: data.image_size.
        window=config_dict.placeholder(object),
        slide_stride=2.0 / 3.0,  # slide: step between windows, as a share of their side
        flip=False,  # evaluation: also the mirrored image, averaged
        scales=(1.0,),  # evaluation: also at these sizes, averaged
        # px (height, width) that no original image exceeds; None: as the data set says.
        canvas=config_dict.placeholder(object),
    )


def _data() -> dict[str, Any]:
    return dict(
        # digits, shapes, shapes128, tfds:NAME, folder:PATH, csv:PATH, mnist:PATH,
        # coco:IMAGES,JSON, coco_seg:IMAGES,JSON, yolo:PATH, voc:ROOT, voc_seg:ROOT,
        # seg:IMAGES,MASKS, records:PATH, hf_dataset:NAME_OR_PATH.
        name="digits",
        train_split="train",  # what is trained on
        # Share of its examples that is used, the same ones in every run; smaller shares
        # are parts of larger ones. For learning how much data a model needs.
        train_fraction=1.0,
        image_size=config_dict.placeholder(object),  # px: side, or (height, width)
        # Training, whatever the task: "resize", "random_resized", "pad", "letterbox" or
        # "scale_jitter". Colors and RandAugment come after it (`transforms/recipe.py`).
        crop="resize",
        crop_area=(0.08, 1.0),  # random_resized: share of the image's area
        crop_ratio=(0.75, 4.0 / 3.0),  # random_resized: width / height
        pad_px=4,  # pad: reflected border before a random crop of image_size
        scale_jitter=(0.5, 2.0),  # scale_jitter: range of sizes, 1.0 fits image_size
        # Evaluation of whole images: "letterbox" or "resize". For boxes, masks, and labels
        # of a model trained with the crop "letterbox" or "scale_jitter".
        eval_fit="letterbox",
        eval_crop=1.0,  # of other labels: share of the resized image kept by a center crop
        interpolation="bicubic",  # "bicubic" or "bilinear", both antialiased
        randaugment_layers=0,  # RandAugment: operations on each training image; 0: none
        randaugment_magnitude=9.0,  # 0 to 10
        color_jitter=0.0,  # brightness, contrast and saturation by up to this factor
        on_bad_image="raise",  # or "skip": take the next example and count
        # Labels alone: JPEGs at 1/2, 1/4 or 1/8 where twice the pixels shown are left.
        scaled_decoding=True,
        max_pixels=178_956_970,  # images of more are bad ones; the limit that Pillow has
        gray_range=(),  # black and white of gray of more than 8 bits; (): all of 16 bits
        on_bad_annotation="raise",  # or "skip": leave out the object (or example), count
        max_boxes=100,  # objects per image in a batch; more are left out and counted
        ignore_label=(),  # masks: ids in the files that are void, such as (11,), beside 255
        label_map="",  # masks: other ids or names for ids, such as "34:19,255:person"
        reduce_zero_label=False,  # masks: 0 is void and 1, 2, ... become 0, 1, ...
        workers=0,  # decoding processes; 0 decodes in threads of this one
        threads=config_dict.placeholder(int),  # None: one per core, at most 16
        prefetch=2,  # batches kept ready on the device
    )


def _train() -> dict[str, Any]:
    return dict(
        steps=config_dict.placeholder(int),  # optimizer steps; None: by epochs or hardware
        epochs=config_dict.placeholder(float),  # instead of steps
        batch_size=config_dict.placeholder(int),  # over all devices and hosts
        accumulate=1,  # micro-batches per step
        ema_decay=0.0,  # 0.0: no averaged copy; evaluation uses the copy if there is one
    )


def _optimizer() -> dict[str, Any]:
    return dict(
        name="adamw",  # "adamw", "sgd" or "lamb"
        learning_rate=1e-3,  # its peak
        schedule="cosine",  # "cosine", "linear", "rsqrt" or "constant"
        warmup_fraction=0.05,  # share of the steps with linearly rising rate
        cooldown_fraction=0.1,  # rsqrt: share of the steps with linearly falling rate
        rsqrt_timescale=10_000,  # rsqrt: steps over which the rate is nearly flat
        weight_decay=0.05,  # per step, times the learning rate
        # Parameters whose path this finds are not decayed: all but kernels, so neither
        # norms nor anything that is embedded, such as positions, tokens and levels.
        no_decay=r"(?<!kernel)$",
        clip_norm=1.0,  # global gradient norm; 0.0: no clipping
        b1=0.9,  # adamw, lamb: decay of the first moment
        b2=0.999,  # adamw, lamb: decay of the second moment
        eps=1e-8,  # adamw, lamb: added to the root of the second moment
        momentum=0.9,  # sgd: decay of the running gradient
        moment_dtype="float32",  # first moment; "bfloat16" saves memory
        # Parameters whose path this expression finds are frozen; "": none. "^backbone/"
        # leaves a linear probe. Frozen BatchNorms keep to their running statistics.
        freeze="",
        # Factors on the learning rate; 0.0 freezes the branch.
        branch=dict(
            resnet=1.0,  # parameters of the ResNet
            vit=1.0,  # parameters of the ViT
            fusion=1.0,  # what a fusion adds to the two
            head=1.0,  # the head, and maps made for it
        ),
        layer_decay=1.0,  # one more factor, for each layer between a parameter and the top
    )


def _hardware() -> dict[str, Any]:
    """What fills `None` keys, by kind of device the run finds itself on."""
    return dict(
        # On CPUs.
        cpu=dict(
            batch_size=32,  # for train.batch_size
            image_size=64,  # for data.image_size, px
            steps=160,  # for train.steps, where train.epochs is None too
        ),
        # On GPUs and TPUs.
        accelerator=dict(
            batch_size=256,  # for train.batch_size
            image_size=224,  # for data.image_size, px
            steps=2000,  # for train.steps, where train.epochs is None too
        ),
    )


def _spec_options(cls, sizes) -> dict[str, Any]:
    """Returns the fields of a spec; those its size table gives are `None`."""
    sized = set().union(*sizes.values())
    options = {}
    for field in dataclasses.fields(cls):
        if field.name == "dtype":  # model.dtype speaks for all parts
            continue
        if field.name in sized:
            options[field.name] = config_dict.placeholder(type(field.default))
        else:
            options[field.name] = field.default
    return options
