"""A peer of netc bench --compare that does not read netc's graph: it trains the net as PyTorch has it in public (public_nets.py), from netc's weights.

$NETC_PUBLIC_SIZES holds the net's switches as JSON. Parameters are netc's in the order in which the layers run; sizes must agree. If $NETC_PUBLIC_SPREAD
names a file, it gets what PyTorch itself differs by if each of these weights is rounded once more: of the losses, of each, and of the scores, of the largest."""
import json
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "bench")]
if __name__ != "__main__":
    import peer
    import torch_peer


def load():
    import public_nets
    import torch

    def leaves(model, images):
        """Parameters and statistics of the layers that run in training, in the order in which they do."""
        order = []

        def note(layer, *_):
            if layer not in order:
                order.append(layer)

        hooks = [layer.register_forward_hook(note) for layer in model.modules()]
        with torch.no_grad():
            model.train()(images)
        for hook in hooks:
            hook.remove()
        found = []
        for layer in order:
            buffers = [tensor for name, tensor in layer.named_buffers(recurse=False) if name != "num_batches_tracked"]
            found += [*layer.parameters(recurse=False), *buffers]
        return found

    def spread(job, start):
        """Of two runs, the second from weights that differ by up to half a unit of their last place."""
        (losses, scores), (others, moved) = (([train() for _ in range(job.steps)], infer()) for train, infer in (start(0), start(2.0**-24)))
        return [max(abs(a - b) / abs(a) for a, b in zip(losses, others)), ((scores - moved).abs().max() / scores.abs().max()).item()]

    class Public:
        name, version, modes = "public", torch.__version__, ["eager"]

        def __init__(self, job, net, mode, threads, training, inference):
            torch.set_num_threads(threads)
            if "NETC_PUBLIC_SPREAD" in os.environ:
                with open(os.environ["NETC_PUBLIC_SPREAD"], "w") as file:
                    json.dump(spread(job, lambda noise: self.start(job, net, noise)), file)
            self.train, self.infer = self.start(job, net, 0)
            self.held = lambda: 0

        @staticmethod
        def start(job, net, noise):
            """A step and the scores, from netc's weights, each times 1 + (-noise to noise)."""
            torch.manual_seed(0)
            model = public_nets.NETS[net.name](**json.loads(os.environ["NETC_PUBLIC_SIZES"]))
            images = torch.frombuffer(job.images, dtype=torch.float32).reshape(net.image_shape).clone()
            labels = torch.frombuffer(job.labels, dtype=torch.int32).long()
            own = leaves(model, images[:2] if len(images) > 1 else torch.cat((images, images)))
            theirs = [v["attrs"]["name"] for v in net.leaves]
            if len(own) != len(theirs):
                raise peer.Missing(f"the public net has {len(own)} parameters and statistics, netc's {len(theirs)}")
            with torch.no_grad():
                for tensor, name in zip(own, theirs):
                    words = torch.frombuffer(job.leaf[name], dtype=torch.float32)
                    if words.numel() != tensor.numel():
                        raise peer.Missing(f"'{name}' has {words.numel()} elements, in the public net {tuple(tensor.shape)}")
                    tensor.copy_(words.reshape(tensor.shape))
                    if noise:
                        tensor *= 1 + noise * (2 * torch.rand(tensor.shape, dtype=torch.float64) - 1)
            updates = torch_peer.optimiser(job, [(v, tensor) for v, tensor in zip(net.leaves, own) if v["op"] == "param"])

            def train():
                model.train()
                updates.zero_grad(set_to_none=True)
                loss = torch_peer.loss_of(net, model(images), labels)
                loss.backward()
                updates.step()
                return loss.item()

            def infer():
                with torch.no_grad():
                    return model.eval()(images)

            return train, infer

    return Public


def serve(listener, netc):
    """Answers the peers that netc starts, each in a fork of this process, so that PyTorch is loaded once for all of them."""
    listener.settimeout(0.1)
    while netc.poll() is None:
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            continue
        words, fds, _, _ = socket.recv_fds(connection, 65536, 3)
        if os.fork() == 0:
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            sys.argv, sys.stdin = json.loads(words), open(0)
            peer.main(load)
            os._exit(0)
        for fd in fds:
            os.close(fd)
        connection.close()
    while True:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return


if __name__ == "__main__":  # as netc starts it: hands its streams to the process that serves, and ends when that is done
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["NETC_PUBLIC_SERVER"])
        socket.send_fds(server, [json.dumps(sys.argv).encode()], [0, 1, 2])
        server.recv(1)
