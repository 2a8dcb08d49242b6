"""Texts that break things, by what they are likely to break."""

HUGE = "9" * 40
ESCAPE = "\x1b[2J\x1b]0;x\x07"
# Awkward as the path of a file or folder.
PATHS = ("", " ", "..", "/proc/nowhere/x", "~nouser/x", "a" * 300, "a/" * 2000, "\udcff", "\x00", ESCAPE, "[/x]")
TEXTS = (
    "", " ", "\n", "-", "--", "---", "=", "=1+1", "a=b", "a=", "x=y=z", ",", ",,", "a,b", "'", '"', "`", "\\", "/",
    ".", "..", "../../x", "/proc/nowhere/x", "~nouser/x", "$HOME", "$(touch x)", "`touch x`", "; touch x", "| touch x",
    "{", "}", "{}", "[", "]", "[]", "[/x]", "[a", "(", ")", "()", "a(", "a)", "a(b", "a(b=)", "a(b=1,)", "(((((",
    "%s", "%n", "{0}", "${x}", "${oc.env:HOME}", "null", "None", "true", "nan", "inf", "-inf", "0", "-1", "1", "1.5",
    "1e3", "1e999", "0x10", "٣", "²", HUGE, f"-{HUGE}", str(2**63), str(2**63 - 1), "é", "ß", "漢",
    "\u202eabc", "\u200b", "\ufeff", "\udcff", "\x00", ESCAPE, "\r", "\t", "a\nb", "a" * 300, "a" * 5000, "a/" * 2000,
    "+", "++", "a+", "+a", "*", "?", "[!a]", "**", "!x", "@x", "#x", "fqvit", "FQVIT", "fqvi", "fqvit+fqvit",
    "fqvit(", "fqvit()", "fqvit(lis)", "fqvit(lis=)", "fqvit(lis=maybe)", "fqvit(x=1)", "evolq",
    "fqvit+evolq(passes=0)", "fqvit+evolq(passes=-1)", f"fqvit+evolq(passes={HUGE})", "range(3)", "range(0)",
    f"range({HUGE})", "range(1,2,0)", "w", "w8", "a8", "w8a8", "w0a0", "w8a8s", f"w{HUGE}a8", "w-1a8", "w8a8w8a8",
    "9" * 400 + "G", "w" + "9" * 5000 + "a8", "9" * 5000, "fqvit+evolq(passes=" + "9" * 5000 + ")", "harness run 'x",
    "8GB", "0G", f"{HUGE}G", "-1G", "1e3G", "cuda:99", "cpu:x", "meta", "done", "oom", "all", "embedded",
    "vit_pico_patch4_28", "resnet18", "recipe=paper", "mean=nan", "std=0", "mean=1,2", "crop_pct=2", "seed=1", "+x=1",
    "~seed", "++seed=1", "hydra.run.dir=x", "launcher=slurm", "launcher=local", "launcher.workers=x", "x@y=z",
    "method=[fqvit]", "method={a: b}", "method=", "bits=w8a8,w4a8", "experiment=smoke", "experiment=../../x",
    "stack=fqvit", "id=1",
)  # fmt: skip
