"""netc build: the executable trains to netc's bits on any number of threads, resumes netc's checkpoints and the other way round,
needs the C library only, runs in an empty root, and runs its code for lesser CPUs."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

from e2e import SMALL, Workspace, check, fabricate_cifar10, metrics, practice_net, read_safetensors, step_losses, recomputable, write_png

STEPS = 20
MODEL = [SMALL, "--set", "se=true"]


def train(steps, out, *more):
    return ["--seed", 5, "--steps", steps, "--log-every", 1, "--out", out, *more]


def run(at, program, *args, status=0, **options):
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, env=at.environment(), cwd=at.path,
                          timeout=120, **options)
    shown = " ".join(map(str, args))
    check(done.returncode == status, f"{program} {shown}: exit status {done.returncode}, expected {status}\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def same(at, a, b):
    check(read_safetensors(at(a, "last.safetensors")) == read_safetensors(at(b, "last.safetensors")), f"{a} and {b} differ")
    check(step_losses(at(a)) == step_losses(at(b)), f"losses of {a} and {b} differ")


def check_bits(at, program):
    at.run("train", *MODEL, *train(STEPS, at("netc")))
    for threads in (1, 2, 4):
        run(at, program, *train(STEPS, at(f"exe{threads}"), "--threads", threads))
        same(at, "netc", f"exe{threads}")
    run(at, program, "train", *train(STEPS // 2, at("there")))
    at.run("train", *MODEL, *train(STEPS, at("there"), "--resume"))
    at.run("train", *MODEL, *train(STEPS // 2, at("back")))
    run(at, program, *train(STEPS, at("back"), "--resume"))
    for other in ("there", "back"):
        check(read_safetensors(at(other, "last.safetensors")) == read_safetensors(at("netc", "last.safetensors")),
              f"a run resumed by the other program differs ({other})")
    print("the same bits as netc on 1, 2 and 4 threads, and resumed in both directions")


def check_links(program, static):
    needed = re.findall(r"NEEDED.*\[(.*)\]", subprocess.run(["readelf", "-d", program], capture_output=True, text=True).stdout)
    needed = [name for name in needed if not name.startswith("ld-linux")]  # who loads it is named too where there is thread-local storage (libjpeg's)
    check(not needed if static else set(needed) <= {"libc.so.6", "libm.so.6"}, f"{program} needs {needed}")
    headers = subprocess.run(["readelf", "-lh", "-W", program], capture_output=True, text=True).stdout
    check("DYN (Position-Independent" in headers and "GNU_RELRO" in headers, f"{program}: not PIE with RELRO")
    check(re.search(r"GNU_STACK.* RW +0", headers), f"{program}: executable stack")
    check(os.path.getsize(program) < 9 << 19, f"{program}: {os.path.getsize(program)} bytes")


def check_commands(at, program):
    weights = at("netc", "last.safetensors")
    theirs = at.run("eval", *MODEL, "--weights", weights)[0].split(";")[0]
    check(run(at, program, "eval", "--weights", weights)[0].split(";")[0] == theirs, "eval differs from netc's")
    run(at, program, "init", "--seed", 3, "-o", at("a.safetensors"))
    at.run("init", *MODEL, "--seed", 3, "-o", at("b.safetensors"))
    check(read_safetensors(at("a.safetensors")) == read_safetensors(at("b.safetensors")), "init differs from netc's")
    with open(at("picture.ppm"), "wb") as file:
        file.write(b"P6 # comment\n32 32\n255\n" + bytes(i % 251 for i in range(3072)))
    with open(at("gray.pgm"), "wb") as file:
        file.write(b"P5\n20 10\n# comment\n100\n" + bytes(i % 101 for i in range(200)))
    out, _ = run(at, program, "predict", "--weights", weights, "picture.ppm", "gray.pgm")
    check([line.split(":")[0] for line in out.splitlines()] == ["picture.ppm", "gray.pgm"], f"predict printed:\n{out}")
    write_png(at("picture.png"), 32, 32, kind=2, pixel=lambda x, y: [8 * x, 8 * y, 0])
    write_png(at("gray16.png"), 9, 7, kind=0, depth=16, interlace=True, pixel=lambda x, y: [4000 * x + 5000 * y])
    pictures = ["picture.png", "gray16.png", "picture.ppm", "gray.pgm"]
    theirs = at.run("predict", *MODEL, "--weights", weights, *pictures)[0]
    check(run(at, program, "predict", "--weights", weights, *pictures)[0] == theirs, f"predict differs from netc's:\n{theirs}")
    with open(at("short.ppm"), "wb") as file:
        file.write(b"P6 32 32 255\n")
    check("too short" in run(at, program, "predict", "--weights", weights, "short.ppm", status=1)[1], "a short picture")
    check("did you mean 'train'" in run(at, program, "trian", status=2)[1], "an unknown command")
    check("no code for" in run(at, program, "--cpu-level", "x86-64-v9", status=2)[1], "an unknown level")
    said = run(at, program, "data", "get", "cifar100", status=2)[1] + run(at, program, "--data", "cifar100", "--out", "nowhere", status=1)[1]
    check(said.count("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz") == 2 and "| tar xz -C " + at(".cache", "netc", "cifar100") in said, said)


SETS = ["--set", "train.optimizer.lr=0.02", "--set", "train.augment=[flip, cutout(8)]", "--set", "train.epochs=1.5", "--set", "train.validation=300", "--set",
        "train.schedule=cosine(final_lr = 0.1)", "--set", "train.clip=2"]


def check_settings(at, program):
    """The recipe as netc would have it, bit for bit; what is compiled in is refused, and mistakes are said as netc says them."""
    at.run("train", *MODEL, *SETS, *train(STEPS, at("set-netc")))
    run(at, program, *SETS, *train(STEPS // 2, at("set-exe")))
    run(at, program, *SETS, *train(STEPS, at("set-exe"), "--resume"))
    check(read_safetensors(at("set-netc", "last.safetensors")) == read_safetensors(at("set-exe", "last.safetensors")), "--set trains otherwise")
    check(read_safetensors(at("set-netc", "last.safetensors")) != read_safetensors(at("netc", "last.safetensors")), "--set does nothing")
    said = run(at, program, *train(STEPS, at("set-exe"), "--resume"), status=1)[1]
    check("was trained with validation = 300, not 0" in said, said)
    for setting, status, says in (("train.batch=8", 2, "'train.batch' is compiled into"), ("train.loss=cross_entropy(label_smoothing=0.1)", 2, "'train.loss' is compiled into"),
                                  ("train.optimizer.momentum=0.8", 2, "'train.optimizer', but for its lr, is compiled into"), ("depth=3", 2, "none of the recipe's keys"),
                                  ("train.groups=[group(\"*\", lr = 2)]", 2, "'train.groups' is compiled into"), ("train.epoch=3", 1, "did you mean 'epochs'"),
                                  ("train.optimizer.lr=-1", 1, "error: "), ("train", 1, "not of the form key=value")):
        said = run(at, program, "--set", setting, "--out", at("never"), status=status)[1]
        check(says in said and not os.path.exists(at("never")), f"--set {setting}: {said}")
    theirs = json.loads(at.run("eval", *MODEL, "--weights", at("netc", "last.safetensors"), "--set", "train.views=mirror", "--json")[0])
    ours = json.loads(run(at, program, "eval", "--weights", at("netc", "last.safetensors"), "--set", "train.views=mirror", "--json")[0])
    check(theirs["views"] == ours["views"] == 2 and theirs["loss"] == ours["loss"], f"views by --set: {theirs}, {ours}")
    print("--set as netc train's, but for what is compiled in")


def check_lesser_cpu(at, program):
    """Vectors of another width add in another order, so losses agree and bits do not."""
    run(at, program, *train(4, at("v3"), "--cpu-level", "x86-64-v3"))
    reference, losses = step_losses(at("netc")), step_losses(at("v3"))
    check(len(losses) == 4 and all(abs(losses[s] - reference[s]) < 2e-3 * abs(reference[s]) for s in losses),
          f"losses of x86-64-v3: {losses}, expected about {reference}")


BLAS = ["--conv", "gemm", "--gemm", "openblas"]


def check_openblas(at):
    """OpenBLAS linked in, where its archive is installed: the same bits as netc's with the shared library."""
    found = subprocess.run(["cc", "-print-file-name=libopenblas.a"], capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(found):
        return
    at.run("build", *MODEL, *BLAS, "--cpu", "native", "-o", at("blas"))
    at.run("train", *MODEL, *BLAS, *train(3, at("shared"), "--threads", 2))
    run(at, at("blas"), *train(3, at("linked"), "--threads", 2))
    same(at, "shared", "linked")


def check_own_products(at):
    """Products of netc's own: no archive is needed, netc has the same bits, and with OpenBLAS nearly the same losses."""
    at.run("build", *MODEL, "--conv", "gemm", "--cpu", "native", "-o", at("plain"))
    check(os.path.getsize(at("plain")) < 2 << 20, "OpenBLAS seems to be linked in")
    at.run("train", *MODEL, "--conv", "gemm", *train(3, at("generated")))
    at.run("train", *MODEL, *BLAS, *train(3, at("products")))
    run(at, at("plain"), *train(3, at("alone"), "--threads", 2))
    same(at, "generated", "alone")
    want, got = step_losses(at("products")), step_losses(at("alone"))
    check(all(abs(got[s] - want[s]) < 1e-3 * abs(want[s]) for s in want), f"losses {got}, expected about {want}")


def check_bf16(at):
    options = [*MODEL, "--precision", "bf16"]
    at.run("build", *options, "--cpu", "native", "-o", at("half"))
    at.run("train", *options, *train(4, at("half-netc")))
    run(at, at("half"), *train(4, at("half-exe")))
    same(at, "half-netc", "half-exe")


def check_directory(at):
    """An executable's training leaves what reports and other commands read: the net, with the recipe as --set changed it."""
    for ours, theirs in (("practice-exe", "practice-netc"), ("set-exe", "set-netc")):
        with open(at(ours, "model.ir")) as one, open(at(theirs, "model.ir")) as other:
            check(one.read() == other.read(), f"{ours}/model.ir is not {theirs}'s")
    at.run("report", at("practice-exe"), "-o", at("exe.html"))
    with open(at("exe.html")) as file:
        check('"confusion": ' in file.read(), "no predictions in the report of an executable's training")


def check_practice(at):
    """Groups, averages, views and initial weights made of the data are in the Program: the same bits, resumed by either at any step."""
    model = practice_net(at)
    at.run("build", model, "--cpu", "native", "-o", at("practice"))
    at.run("train", model, *train(0, at("practice-netc")))
    run(at, at("practice"), *train(4, at("practice-exe"), "--threads", 1))
    at.run("train", model, *train(11, at("practice-exe"), "--resume", "--threads", 1))
    run(at, at("practice"), *train(0, at("practice-exe"), "--resume", "--threads", 2))
    same(at, "practice-netc", "practice-exe")
    last, again = metrics(at("practice-netc"))[-1], metrics(at("practice-exe"))[-1]
    check(last["step"] == 20 and last["views_accuracy"] == again["views_accuracy"] and last["views_loss"] == again["views_loss"], f"{last} and {again}")
    first, tensors = at("practice-first.safetensors"), read_safetensors(at("practice-netc", "last.safetensors"))
    run(at, at("practice"), "init", "--seed", 5, "-o", first)
    check(read_safetensors(first)["whiten.weight"] == tensors["whiten.weight"], "frozen filters moved, or init makes others")
    found = [json.loads(out) for out in (at.run("lrfind", model, "--steps", 20, "--json")[0], run(at, at("practice"), "lrfind", "--steps", 20, "--json", "--threads", 1)[0])]
    check(found[0] == found[1], f"lrfind: {found}")
    weights = ["--weights", at("practice-netc", "last.safetensors")]
    for views, loss in ([], last["views_loss"]), (["--views", "one"], last["test_loss"]):
        theirs = json.loads(at.run("eval", model, *weights, *views, "--json")[0])
        ours = json.loads(run(at, at("practice"), "eval", *weights, *views, "--json")[0])
        check(theirs["loss"] == ours["loss"] == loss and theirs["views"] == (1 if views else 6), f"{theirs}, {ours}, {loss}")


def check_text(at, program):
    """The graphs' text is there once, whatever the levels, and the same net in another directory is the same executable."""
    with open(program, "rb") as file:
        check(file.read().count(b'\ngraph "small" infer') == 1, "the graphs as text are not there once")
    programs = []
    for name in "here", "there":
        os.mkdir(at("of-" + name))
        shutil.copy(SMALL, at("of-" + name, "small.net"))
        at.run("build", at("of-" + name, "small.net"), "--cpu", "native", "-o", at("of-" + name, "x"))
        with open(at("of-" + name, "x"), "rb") as file:
            programs.append(file.read())
    check(programs[0] == programs[1] and at.path.encode() not in programs[0], "an executable depends on where the net lies")


def check_recompute(at):
    """Activations computed again: the same bits as netc's, and a limit holds for every level or is refused."""
    options = [*MODEL, "--recompute", recomputable(at, *MODEL)]
    at.run("build", *options, "--cpu", "native", "-o", at("again"))
    at.run("train", *options, *train(4, at("again-netc")))
    run(at, at("again"), *train(4, at("again-exe")))
    same(at, "again-netc", "again-exe")
    check(not os.path.exists(at("never")), "there is a file already")
    _, said = at.run("build", *MODEL, "--memory-limit", "100K", "-o", at("never"), status=1)
    check("at least" in said and not os.path.exists(at("never")), f"a limit that cannot be met: {said}")


def check_image_read_again(at):
    """A fused region that reads the image beside the convolution of it: the image's layout is another, in every program alike."""
    for name, norm in ("plain", "{0}"), ("normed", "batch_norm({0})"):
        model, weights = at(name + ".net"), at(name + "-netc", "last.safetensors")
        with open(model, "w") as file:
            file.write("net again() {\n    input image: f32[3, 32, 32]\n    output dense(global_avg_pool(relu(" + norm.format("conv2d(image, 3, 3)") +
                       " + image)), 10)\n}\ntrain { data = synthetic }\n")
        at.run("build", model, "-o", at(name))
        at.run("train", model, *train(8, at(name + "-netc")))
        run(at, at(name), *train(8, at(name + "-exe"), "--threads", 3))
        same(at, name + "-netc", name + "-exe")
        said = {run(at, at(name), "eval", "--weights", weights, "--threads", threads)[0].split(";")[0] for threads in (1, 2, 2, 3)}
        theirs = at.run("eval", model, "--weights", weights)[0].split(";")[0]
        check(said == {theirs}, f"{name}: the executable's eval says {said}, netc's {theirs}")
        check(not re.search("nan|inf", theirs), theirs)


def check_emit(at):
    model = at("tiny.net")
    shutil.copy(SMALL, model)
    for options, name, holds in (["-S"], "tiny.s", "netc_program_0"), (["--emit=llvm"], "tiny.ll", "@netc_program_0"), \
                                (["-c", "--emit=obj"], "tiny.o", None), (["--emit=ir"], "tiny.ir", "conv2d_bwd"):
        at.run("build", model, *options)
        check(holds is None or holds in open(at(name)).read(), f"{options} did not write {holds} to {name}")
    symbols = subprocess.run(["nm", "-g", "--defined-only", at("tiny.o")], capture_output=True, text=True).stdout
    check([line.split()[-1] for line in symbols.splitlines()] == ["netc_program_0"], f"the object exports:\n{symbols}")
    for options, says in (["-c", "-S"], "exclude each other"), (["-S", "--emit=obj"], "means '--emit=asm'"), \
                         (["-c", "--static"], "'--static'"), (["-c", "--cpu=x86-64-v3,x86-64-v4"], "one CPU"):
        _, said = at.run("build", model, *options, status=2)
        check(says in said, f"{options}: {said}")


def check_bare_linker(at):
    """No compiler driver on PATH: ld.lld alone links, dynamically and statically; nothing at all is one sentence."""
    only = at("only")
    os.mkdir(only)
    command = ["build", *MODEL, "--cpu", "native", "-o", at("bare")]
    _, said = at.run(*command, status=1, path=only)
    check("there is no linker" in said and "lld" in said, f"without a linker: {said}")
    linker = shutil.which("ld.lld") or shutil.which("ld.lld-19") or shutil.which("ld")
    os.symlink(os.path.realpath(linker), os.path.join(only, os.path.basename(linker)))
    at.run("train", *MODEL, *train(2, at("bare-netc")))
    for static in [], ["--static"]:
        at.run(*command, *static, path=only)
        check_links(at("bare"), bool(static))
        run(at, at("bare"), *train(2, at("bare-exe")))
        same(at, "bare-netc", "bare-exe")
        shutil.rmtree(at("bare-exe"))
    print(f"linked by {os.path.basename(linker)} alone")


def check_files(at):
    """Output that cannot be written is one sentence, before anything is compiled where that is known then; temporary files go,
    however the build ends, and may lie in a directory of any name."""
    at.refuses("build", SMALL, "-o", at("nowhere", "x"), status=3, says="No such file")
    at.refuses("build", SMALL, "-o", at.path, status=3, says="Is a directory")
    for kind in "asm", "llvm", "obj":
        _, said = at.run("build", SMALL, "--cpu", "native", f"--emit={kind}", "-o", "/dev/full", status=3)
        check(said == "error: cannot write '/dev/full': No space left on device\n", f"--emit={kind} on a full disk: {said}")
    temporary = at("a 'temporary\\ \"directory")
    os.mkdir(temporary)
    at.run("build", *MODEL, "--cpu", "native", "-o", at("odd"), temporary=temporary)
    run(at, at("odd"), "help")
    check(not os.listdir(temporary), f"a build left {os.listdir(temporary)}")
    for end in signal.SIGINT, signal.SIGKILL:
        build = at.start("build", *MODEL, "--no-cache", "-o", at("interrupted"), temporary=temporary)
        while build.poll() is None and not any(files for _, _, files in os.walk(temporary)):
            time.sleep(0.001)
        build.send_signal(end)
        build.communicate(timeout=60)
        check(build.returncode == -end, f"interrupted by {end}: exit status {build.returncode}")
        soon = time.monotonic() + 30
        while os.listdir(temporary) and time.monotonic() < soon:
            time.sleep(0.01)
        check(not os.listdir(temporary), f"{end} left {os.listdir(temporary)}")


def check_empty_root(at, program):
    root = at("root")
    fabricate_cifar10(os.path.join(root, "data"))
    os.link(program, os.path.join(root, "train"))
    command = ["/train", "--data", "/data", "--steps", "3", "--out", "/run"]
    done = subprocess.run(command, capture_output=True, text=True, env={}, timeout=120, preexec_fn=lambda: (os.chroot(root), os.chdir("/")))
    check(done.returncode == 0, f"in an empty root:\n{done.stdout}{done.stderr}")
    check(metrics(os.path.join(root, "run")), "no metrics in the empty root")
    print("the static executable trains in a root with nothing but itself and the data")


with Workspace() as at:
    at.run("build", *MODEL, "-o", at("exe"))
    at.run("build", *MODEL, "--cpu", "native", "--static", "-o", at("static"))
    check_bits(at, at("exe"))
    check_links(at("exe"), False)
    check_links(at("static"), True)
    check_text(at, at("exe"))
    check_commands(at, at("exe"))
    check_settings(at, at("exe"))
    if os.uname().machine == "x86_64":
        check_lesser_cpu(at, at("exe"))
        at.run("build", "resnet110", "--cpu", "x86-64-v3,x86-64-v4,znver5", "-o", at("deep"))
        check_links(at("deep"), False)  # its size, too
    if os.geteuid() == 0:
        check_empty_root(at, at("static"))
    check_openblas(at)
    check_own_products(at)
    check_bf16(at)
    check_practice(at)
    check_directory(at)
    check_recompute(at)
    check_image_read_again(at)
    check_emit(at)
    check_bare_linker(at)
    check_files(at)
