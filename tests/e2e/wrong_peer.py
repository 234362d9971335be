"""PyTorch as a peer (bench/torch_peer.py) that gets one thing wrong, said by $WRONG: netc must notice."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench"))
import peer
import torch_peer


def load():
    framework, wrong = torch_peer.load(), os.environ["WRONG"]
    ops, decay = framework.ops, peer.Job.decay
    if wrong == "pads":  # the odd pixel at the top and left, so that the shapes are right
        conv2d = ops.conv2d
        ops.conv2d = lambda self, x, w, pad, **more: conv2d(self, x, w, pad=pad[2:] + pad[:2], **more)
    if wrong == "gradient":  # of a tanh, by half
        tanh = ops.tanh
        ops.tanh = lambda self, x: tanh(x / 2 + x.detach() / 2)
    if wrong == "decay":
        peer.Job.decay = lambda self, param: decay(self, param) + 5
    if wrong == "momentum":
        peer.Job.decay = lambda self, param: self.optimizer.update(momentum=0.0) or decay(self, param)
    if wrong == "statistics":
        norm = ops.batch_norm
        ops.batch_norm = lambda self, *args: norm(self, *args[:6], 2 * args[6], args[7])
    if wrong == "op":
        del ops.hard_swish
    return framework


peer.main(load)
