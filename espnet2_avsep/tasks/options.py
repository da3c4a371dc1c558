"""The options of a training, checked before anything is built from them.

ESPnet does not check what comes from a YAML file against the types of its options, and
PyYAML reads YAML 1.1, in which ``1e-3`` is text.
"""

import argparse
import inspect
import logging
import math
import numbers
import re
from typing import Any, Dict, List, Mapping, Type

import torch

from espnet2_avsep.errors import InputError, close_to
from espnet2_avsep.weights import SAFETENSORS, read_state

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

# Option -> its least value.
LEAST = {
    "max_epoch": 1,
    "batch_size": 1,
    "valid_batch_size": 1,
    "num_iters_per_epoch": 1,
    "num_workers": 0,
    "accum_grad": 1,
    "keep_nbest_models": 1,
    "picture_interval": 1,
    "max_train_seconds": 1,
    "sample_rate": 1,
    "patience": 0,
    "num_att_plot": 0,
    "ngpu": 0,
    "log_interval": 1,
}
# Parts of ESPnet that this task does not offer.
NOT_OFFERED = ("use_adapter", "sharded_ddp", "use_deepspeed", "multiple_iterator")
# Of ESPnet's own batches -> the default, which has no effect here.
OTHER_BATCHES = {
    "iterator_type": "task",
    "valid_iterator_type": "task",
    "batch_type": "folded",
    "valid_batch_type": "folded",
    "batch_bins": 1000000,
    "valid_batch_bins": 1000000,
    "min_batch_size": 1,
    "max_batch_size": None,
    "drop_last_iter": False,
    "fold_length": [],
    "sort_in_batch": "descending",
    "sort_batch": "descending",
    "shuffle_within_batch": False,
    "chunk_length": 500,
    "multi_task_dataset": False,
}
LISTS = ("criterions", "optim_groups", "classes", "published", "phases")


def as_numbers(value: Any) -> Any:
    """Return a value of a config with numbers such as "1e-3" in place of their text."""
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if isinstance(value, dict):
        return {key: as_numbers(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_numbers(entry) for entry in value]
    return value


def check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check all options against what the parser knows of them; complete ``args``.

    Numbers that YAML read as text become numbers, and empty mappings mappings.

    Raises:
        InputError: a value of another type or out of range, options that do not go
            together or are not offered.
    """
    for action in parser._actions:
        if not hasattr(args, action.dest):
            continue
        name, value = action.dest, getattr(args, action.dest)
        if name.endswith("_conf"):
            setattr(args, name, as_numbers(_mapping(name, value)))
        elif name in LISTS:
            setattr(args, name, as_numbers(_list(name, value)))
        elif value is not None:
            _check_scalar(action, value)
    for name, least in LEAST.items():
        value = getattr(args, name)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number < least:
                raise InputError(f"{name} is {number}; at least {least} was expected.")
    gpus = torch.cuda.device_count() if args.ngpu else 0
    if args.ngpu > gpus:
        raise InputError(
            f"ngpu is {args.ngpu}, but torch finds {gpus} GPUs: give --ngpu {gpus}"
            f"{'' if gpus else ' to train on the CPU'}, or see what nvidia-smi and "
            "CUDA_VISIBLE_DEVICES say."
        )
    if args.ngpu > 1 and not args.multiprocessing_distributed:
        # Threads of one process (DataParallel) would share the teacher, which is on one
        # GPU at a time, and the statistics of BatchNorm would be those of each thread.
        raise InputError(
            f"ngpu is {args.ngpu}: give --multiprocessing_distributed true, for each "
            "GPU is trained on by a process of its own."
        )
    for name in ("grad_clip", "grad_clip_type"):
        value = getattr(args, name)
        if not value > 0:  # a negative norm would turn the gradient around
            raise InputError(
                f"{name} is {value}; expected a number above 0 (grad_clip .inf: none "
                "is clipped)."
            )
    for name in ("scheduler", "scheduler2"):
        if args.max_train_seconds is not None and getattr(args, name) is not None:
            raise InputError(
                f"{name} is {getattr(args, name)}, but with max_train_seconds the used "
                f"time sets the learning rate: set {name} to null."
            )
    for name in NOT_OFFERED:
        if getattr(args, name):
            raise InputError(f"{name}: this task does not offer it; leave it out.")
    if args.phases and args.patience is not None:
        raise InputError(
            f"patience is {args.patience} with phases, each of which lasts as long as "
            "it says: set patience to null."
        )
    for name, default in OTHER_BATCHES.items():
        value = getattr(args, name)
        if value not in (default, None):
            raise InputError(
                f"{name} is {value!r}: this task does not offer it, leave it out. A "
                "batch is batch_size mixtures of one length, drawn anew in each epoch."
            )
    criteria = args.best_model_criterion
    if not all(
        len(entry) == 3
        and entry[0] in ("train", "valid")
        and entry[2] in ("min", "max")
        for entry in criteria
    ):
        raise InputError(
            f"best_model_criterion is {criteria}; expected a list of [train or valid, "
            "name, min or max], for instance [[valid, loss, min]]."
        )
    counts = args.keep_nbest_models
    several = len(criteria) * (len(counts) if isinstance(counts, list) else 1) > 1
    if args.nbest_averaging_interval > 0 and several:
        raise InputError(
            f"nbest_averaging_interval is {args.nbest_averaging_interval} with several "
            "entries in best_model_criterion or keep_nbest_models: ESPnet's averages "
            "would then be mixed up. Set it to 0: averages are made at the end."
        )


def _mapping(name: str, value: Any) -> Dict:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{name} is {value!r}; expected a mapping, {{key: value}}.")
    return value


def _list(name: str, value: Any) -> List:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{name} is {value!r}; expected a list.")
    return value


def _check_scalar(action: argparse.Action, value: Any) -> None:
    """Check the value of an option, or each of a list of them, by the option's type."""
    if action.type is None or action.type is str or isinstance(value, (dict, tuple)):
        return
    is_list = isinstance(value, list)
    is_one = action.nargs is None and not isinstance(action, argparse._AppendAction)
    if is_list and is_one and action.type in (int, float):
        raise InputError(f"{action.dest} is {value}; expected one value, no list.")
    for entry in value if is_list else [value]:
        if isinstance(entry, (dict, list, tuple)):
            continue
        try:
            found = action.type(str(entry))
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            kind = getattr(action.type, "__name__", "value").replace("_or_none", "")
            raise InputError(
                f"{action.dest} is {entry!r}; expected "
                + {"int": "a whole number", "float": "a number"}.get(kind, kind)
                + "."
            ) from None
        if action.choices is not None and found not in action.choices:
            known = ", ".join(str(choice) for choice in action.choices)
            raise InputError(
                f"{action.dest}: {entry!r} is not known; choose from {known}."
            )


def build_with(cls: Type, conf: Mapping[str, Any], option: str, *given: Any) -> Any:
    """Build an optimizer or a scheduler; what is wrong in its options is named.

    Args:
        cls: torch's or ESPnet's class.
        conf: Its keyword arguments.
        option: What names ``conf`` in the config.
        *given: Its first arguments.

    Raises:
        InputError: an unknown key, a value of another type or out of range.
    """
    parameters = list(inspect.signature(cls).parameters.values())[len(given) :]
    known = {parameter.name: parameter for parameter in parameters}
    unknown = sorted(map(str, set(conf) - set(known)))
    if unknown:
        raise InputError(
            f"{option}: unknown key(s) {', '.join(unknown)} for {cls.__name__}"
            f"{close_to(unknown[0], known)}; it takes {', '.join(known)}."
        )
    for key, value in conf.items():
        _check_like(f"{option}.{key}", value, known[key].default)
    if "lr" in conf and not 0 < conf["lr"] < math.inf:
        raise InputError(
            f"{option}.lr is {conf['lr']}; expected a number above 0. Parts that shall "
            "not learn are named in freeze_param."
        )
    try:
        return cls(*given, **conf)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"{option}, {cls.__name__}: {error}") from error


def _check_like(name: str, value: Any, default: Any) -> None:
    """Check that a value is of the kind of the default, where that tells."""
    entries, expected = [value], "a number"
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}; expected true or false.")
        return
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise InputError(f"{name} is {value!r}; expected {len(default)} numbers.")
        entries = value
    elif not isinstance(default, numbers.Number):
        return
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, (numbers.Number, list)):
            raise InputError(f"{name} is {value!r}; expected {expected}.")


def check_scheduler(
    cls: Type,
    conf: Mapping[str, Any],
    option: str,
    optimizer: torch.optim.Optimizer,
) -> Any:
    """Check a scheduler's options, on a copy of the optimizer with other parameters.

    Some schedulers set one rate of their own for all groups; that is logged.

    Returns:
        The copy's scheduler.

    Raises:
        InputError: see :func:`build_with`.
    """
    groups = [
        {**group, "params": [torch.nn.Parameter(torch.zeros(1))]}
        for group in optimizer.param_groups
    ]
    copy = type(optimizer)(groups)
    scheduler = build_with(cls, conf, option, copy)
    given, found = ({g["lr"] for g in o.param_groups} for o in (optimizer, copy))
    if len(given) > 1 and len(found) == 1:
        logging.warning(
            f"{option}, {cls.__name__}: it sets one learning rate for all parameters; "
            f"those of optim_groups ({', '.join(f'{rate:g}' for rate in sorted(given))}"
            ") have no effect. Choose a scheduler that multiplies them, for instance "
            "warmuplr or multisteplr."
        )
    return scheduler


def check_piecewise_end(scheduler: Any, option: str, steps: int) -> None:
    """Log where piecewiselinearwarmuplr ends before the training, at a lower rate.

    Beyond its last step, the rate of ESPnet 202511 is the optimizer's own, times
    sqrt(last step / step): after a list that falls it rises again, at once.

    Args:
        scheduler: ESPnet's.
        option: What names its options in the config.
        steps: Of the training, or of its longest phase.
    """
    last, rate = scheduler.warmup_steps_list[-1], scheduler.warmup_lr_list[-1]
    own = max(scheduler.base_lrs)
    if steps > last and own > rate:
        logging.warning(
            f"{option}.warmup_steps_list ends at step {last}, the training at step "
            f"{steps}: from {last} on the learning rate is not {rate:g} but "
            f"{own:g} * sqrt({last} / step). Let the list end at {steps}, or train "
            "fewer steps."
        )


def check_init_param(
    init_params: List[str], model: torch.nn.Module, ignore_mismatch: bool = False
) -> None:
    """Check the files of ``--init_param`` before ESPnet loads them.

    ESPnet unpickles them, so that a file could run code, and takes it without a word
    where a file has none of the weights asked for.

    Args:
        init_params: ``<file>[:<source prefix>[:<place in the model>[:<excluded>]]]``.
        model: What the weights are for.
        ignore_mismatch: Whether weights that do not fit may be left out.

    Raises:
        InputError: a file that is missing, damaged or holds more than tensors; there is
            no such part of the model; the weights do not fit, or there are none.
    """
    for text in init_params:
        path, source, place, excluded, *more = text.split(":") + [""] * 3
        if any(more) or path.endswith(SAFETENSORS):
            raise InputError(
                f"init_param {text}: expected <file>[:<prefix>[:<place>[:<excluded>]]] "
                "with a file of torch.save such as valid.si_sdr_i.best.pth."
            )
        state = read_state(path)
        try:
            expected = model.get_submodule(place).state_dict()
        except AttributeError as error:
            raise InputError(f"init_param {text}: {error}; '{place}'.") from None
        start = len(source) + 1 if source else 0
        skip = tuple(excluded.split(",")) if excluded else ()
        found = {
            name[start:]: value
            for name, value in state.items()
            if name.startswith(source) and not (skip and name.startswith(skip))
        }
        fits = {
            name
            for name, value in found.items()
            if name in expected and value.shape == expected[name].shape
        }
        other = sorted(found.keys() - fits)
        if not fits or (other and not ignore_mismatch):
            raise InputError(
                f"init_param {text}: {len(fits)} of the {len(found)} weights there fit "
                f"{f'the {place} of ' if place else ''}the model"
                + (f"; for example, {other[0]} does not" if other else "")
                + ". Correct the parts after ':', or give --ignore_init_mismatch true "
                "to leave out what does not fit."
            )
