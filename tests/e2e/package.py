"""What cmake --install installs is enough for a project that makes its inference library by find_package(netc), and for one that
uses pkg-config; wherever it is moved."""
import os
import shutil
import subprocess

from e2e import HERE, NETC, Workspace, check, skip

BUILD = os.path.join(os.path.dirname(NETC), "..")
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(netc 0.1 REQUIRED)
netc_add_inference(net MODEL small.net WEIGHTS w.safetensors OPTIONS --cpu=native --batch=4)
netc_add_inference(net-empty MODEL resnet20 OPTIONS --cpu=native --batch=1)
add_executable(classify classify.c)
target_compile_definitions(classify PRIVATE _GNU_SOURCE)
target_link_libraries(classify PRIVATE net)
add_executable(both both.c)
target_link_libraries(both PRIVATE net net-empty)
"""
BOTH = """#include "net-empty.h"
#include "net.h"
int main(void) {
    net_context *net;
    net_empty_context *empty;
    return !(net_init(&net, 0, 0) == NET_OK && net_empty_init(&empty, 0, 0) == NET_EMPTY_WEIGHTS && NET_EMPTY_BATCH == 1);
}
"""


def run(command, at):
    done = subprocess.run(command, capture_output=True, text=True, env=at.environment(), timeout=300)
    check(done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def write_picture(path):
    with open(path, "wb") as file:
        file.write(b"P6\n32 32\n255\n" + bytes(i % 251 for i in range(3072)))


def install(at):
    run(["cmake", "--install", BUILD, "--prefix", at("first")], at)
    os.rename(at("first"), at("moved"))
    return at("moved")


def use_cmake(at, prefix, picture):
    os.mkdir(at("project"))
    for name, text in (("CMakeLists.txt", PROJECT), ("both.c", BOTH)):
        with open(at("project", name), "w") as file:
            file.write(text)
    shutil.copy(os.path.join(HERE, "small.net"), at("project"))
    shutil.copy(at("w.safetensors"), at("project"))
    # the example includes "libnet.h"; here the header has the target's name
    with open(os.path.join(HERE, "..", "..", "docs", "examples", "classify.c")) as source, open(at("project", "classify.c"), "w") as copy:
        copy.write(source.read().replace('"libnet.h"', '"net.h"'))
    run(["cmake", "-S", at("project"), "-B", at("build"), f"-DCMAKE_PREFIX_PATH={prefix}"], at)
    run(["cmake", "--build", at("build")], at)
    run([at("build", "both")], at)
    return run([at("build", "classify"), picture], at)


def use_pkg_config(at, prefix, picture):
    os.environ["PKG_CONFIG_PATH"] = os.path.join(prefix, "lib", "pkgconfig")
    netc = run(["pkg-config", "--variable=netc", "netc"], at).strip()
    libs = run(["pkg-config", "--libs", "netc"], at).split()
    check(os.path.isfile(os.path.join(run(["pkg-config", "--variable=models", "netc"], at).strip(), "resnet20.net")), "models of netc.pc")
    run([netc, "build", "--infer", os.path.join(HERE, "small.net"), "--weights", at("w.safetensors"), "--batch", "4", "--cpu", "native",
         "--prefix", "net", "-o", at("libnet.a")], at)
    run(["cc", "-I", at.path, os.path.join(HERE, "..", "..", "docs", "examples", "classify.c"), at("libnet.a"), *libs, "-o", at("classify")], at)
    return run([at("classify"), picture], at)


if not shutil.which("cmake") or not shutil.which("pkg-config"):
    skip("cmake or pkg-config is not installed")
with Workspace() as at:
    prefix = install(at)
    write_picture(at("p.ppm"))
    at.run("init", os.path.join(HERE, "small.net"), "--seed", 1, "-o", at("w.safetensors"))
    by_cmake, by_hand = use_cmake(at, prefix, at("p.ppm")), use_pkg_config(at, prefix, at("p.ppm"))
    check(by_cmake == by_hand and by_cmake.count("%") == 3, f"CMake's program says {by_cmake}, pkg-config's {by_hand}")
    print(by_cmake, end="")
