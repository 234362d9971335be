"""A small ResNet, plain and with gates, learns the synthetic images; best.safetensors then evaluates to what training said."""
import json

from e2e import SMALL, Workspace, check, metrics

with Workspace() as at:
    for se in ("false", "true"):
        out = at("se" if se == "true" else "plain")
        at.run("train", SMALL, "--set", f"se={se}", "--seed", 3, "--out", out, "--set", "train.epochs=3", "--set", "train.schedule=cosine", "--quiet")
        epochs = [m for m in metrics(out) if "test_accuracy" in m]
        best = max(m["test_accuracy"] for m in epochs)
        print(f"se={se}: test accuracy {best:.4f} after {len(epochs)} epochs")
        check(best >= 0.95, f"test accuracy {best} is below 0.95")
        result = json.loads(at.run("eval", SMALL, "--set", f"se={se}", "--weights", out + "/best.safetensors", "--json")[0])
        check(abs(result["accuracy"] - best) < 1e-6, f"eval gives {result['accuracy']}, training said {best}")
