# run: printf 'add(x, y) => add(x)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf '# two\n\nonce: neg(neg(exp(x))) => exp(x)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'same: mul(x, y) => mul(y, x)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'sigmod(x) => x\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'neg(x) =>\n   sub(y, x)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'neg(x[H]) => sub(0, x)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'neg(x) => sub(0, x[C])\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'max => x\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'x => neg(x)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'add(x, select(1, x, y)) => y\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'a: neg(x) => sub(0, x)\na: exp(neg(x)) => div(1, exp(x))\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'exp(x) = x\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf '# nothing\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: netc ir tiny.net --rules=nowhere.rules
# run: netc ir tiny.net --rules=../../../docs/examples/passes/wrong.rules
# run: printf 'sqrt(mul(x, x)) => x\nexp(log(x)) => x\ndiv(x, x) => 1\nabs(mul(x, y)) => mul(abs(x), y)\nadd(x, 0.000001) => x\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'steps: less(x, y) => sub(1, less(y, x))\nlogs: log(mul(x, y)) => add(log(x), log(y))\nroot: select(x, sqrt(x), 0) => sqrt(max(x, 0))\nnever: sqrt(sub(-1, exp(x))) => mul(2, sqrt(sub(-1, exp(x))))\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp; rm rules.tmp
# run: printf 'flat: max(x, 0) => select(x, add(0, max(x, 0)), 0)\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp -o /dev/null; rm rules.tmp
# run: printf 'never: erf(x) => neg(erf(neg(x)))\n' >rules.tmp; netc ir tiny.net --rules=rules.tmp -o /dev/null; rm rules.tmp
# run: netc passes tiny.net --passes=default+rules
# run: netc passes tiny.net --disable-pass=rules
# run: printf 'never: erf(x) => neg(erf(neg(x)))\n' >rules.tmp; netc passes tiny.net --rules=rules.tmp --passes=lower,cse; netc passes tiny.net --mode=infer --rules=rules.tmp --passes='-rules#2' | head -n 1; netc passes tiny.net --mode=infer --rules=rules.tmp --disable-pass=rules | head -n 1; rm rules.tmp
