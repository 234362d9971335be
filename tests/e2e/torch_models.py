"""Models of models/ are the nets that their papers and public repositories define (public_nets.py): from netc's weights on the same images, the same
losses of the first steps, which follow from all gradients, and the same scores behind them.

torch_models.py NETC [MODEL...]: these models as they come, `all` for each; without a name, those of SMALL, made smaller."""
import json
import os
import re
import socket
import sys

from e2e import HERE, Workspace, check, skip

try:
    import torch  # noqa: F401
    import public_nets
    from public_peer import serve
except ImportError:
    skip("PyTorch is not installed (apt-get install python3-torch)")

PEER = os.path.join(HERE, "public_peer.py")
TOLERANCE = 1e-3  # netc itself refuses to time a peer beyond it (driver/agree.c)
WHOLE = {"rir": {"rate": 0.0}, "googlenet_heads": {"rate": 0.0}, "efficientnet_b0": {"rate": 0.0}, "stochastic_resnet110": {"survive": 1.0},
         "convnext_femto": {"layer_scale": 0.5}, "convnext_tiny": {"drop": 0.0, "layer_scale": 0.5}}
# At full size and two images batch norms behind the deepest pools have 2 to 8 values a channel, of which some are nearly equal: in float64 too, weights that
# differ by 6e-8 of themselves give a first loss that differs by 2e-3 of itself, and a third one by 6e-3.
ILL_CONDITIONED = {"attention56"}
SMALL = {  # each some seconds at most; what is left out differs by numbers alone from one that is here, or cannot be made small
    **{attention + "_resnet20": {"depth": 8} for attention in ("eca", "ge", "cbam", "ca", "sk", "gct", "srm")},
    "shufflenet_g2": {"blocks": [2, 1]}, "dpn26": {"blocks": [2], "growth": [16]},
    "pnasnet_b": {"filters": 8, "cells": 1}, "rir": {"width": 8},
    "attention56": {"width": 4, "modules": [1, 0, 0]}, "res2net50": {"blocks": [2], "size": 32, "classes": 10},
    "convnext_femto": {"blocks": [1, 1], "width": 16, "size": 32, "patch": 2, "classes": 10},
    "convmixer": {"width": 24, "depth": 2},
    "stochastic_resnet110": {"depth": 8}, "ws_resnet20": {"depth": 8},
}


def text(value):
    return json.dumps(value)


def compare_spread(name, sizes, err):
    """Where rounding the weights once more moves PyTorch's own numbers by more than netc lets a peer differ, netc may differ by as much. (Of rounding's kind:
    netc rounds each result of a layer otherwise, not the weights alone, and more than once.)"""
    found = re.search(r"(losses|scores) differ by ([0-9.e+-]+)", err)
    check(found, f"{name}: {err}")
    with open(os.environ["NETC_PUBLIC_SPREAD"]) as file:
        spread = dict(zip(("losses", "scores"), json.load(file)))
    what, differs = found[1], float(found[2])
    check(spread[what] > TOLERANCE / 4 and differs <= 4 * spread[what], f"{name}: {what} differ by {differs}, PyTorch's own by {spread[what]}\n{err}")
    print(f"{name} {sizes}: {what} within {differs:.1e}; PyTorch's from weights rounded once more within {spread[what]:.1e}", flush=True)


def compare(at, listener, name, sizes, batch):
    os.environ.pop("NETC_PUBLIC_SPREAD", None)
    if name in ILL_CONDITIONED:
        os.environ["NETC_PUBLIC_SPREAD"] = at("spread")
    os.environ["NETC_PUBLIC_SIZES"] = text(sizes)
    path = os.path.join(HERE, "..", "..", "models", name + ".net")
    options = [word for key, value in sizes.items() for word in ("--set", f"{key}={text(value)}")]
    words = ["bench", path, "--batch", batch, "--compare", sys.executable, "--peer", PEER, "--seconds", 0, "--rounds", 1, "--threads", 1, "--json", *options]
    netc = at.start(*words)
    serve(listener, netc)
    out, err = netc.communicate()
    if name in ILL_CONDITIONED and netc.returncode != 0:
        return compare_spread(name, sizes, err)
    check(netc.returncode == 0, f"{name}: exit status {netc.returncode}\n{err}")
    found = json.loads(out)
    mode = found["modes"][0]
    loss, score = mode["loss_difference"], mode["score_difference"]
    check(loss is not None and score is not None, f"{name}: losses or scores not compared")
    check(loss <= TOLERANCE and score <= 10 * TOLERANCE, f"{name}: losses differ by {loss}, scores by {score}")
    print(f"{name} {sizes}: {found['parameters']} parameters, losses within {loss:.1e}, scores within {score:.1e}", flush=True)


with Workspace() as at, socket.socket(socket.AF_UNIX) as listener:
    os.environ["NETC_PUBLIC_SERVER"] = at("socket")
    listener.bind(at("socket"))
    listener.listen()
    names = list(public_nets.NETS) if sys.argv[2:] == ["all"] else sys.argv[2:]
    for name in names:
        compare(at, listener, name, WHOLE.get(name, {}), 2)
    ILL_CONDITIONED.clear()  # made smaller, with more images, none is
    for name in [] if names else SMALL:
        compare(at, listener, name, {**WHOLE.get(name, {}), **SMALL[name]}, 8 if name == "attention56" else 3)
