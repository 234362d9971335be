# run: netc ir tiny.net --mode=infer --print-changed -o final.tmp; rm final.tmp
# run: netc ir --diff tiny.net tiny.net && echo the same
# run: netc ir tiny.net --mode=infer --stage=final -o a.ir && netc ir tiny.net --mode=infer --forbid='fuse_epilogues@*' -o b.ir && netc ir --diff a.ir b.ir; rm a.ir b.ir
# run: netc ir --diff tiny.net
# run: netc ir --diff tiny.net tiny.net --format=json
# run: netc ir --diff tiny.net nothing.net
# run: netc ir --diff tiny.net tiny.net --stage=source --passes=dce
# run: netc ir tiny.net tiny.net
# run: netc ir tiny.net --mode=both --split-after=stages.tmp -o final.tmp && ls stages.tmp && for f in stages.tmp/*; do netc ir $f --stage=source >one.tmp; tail -n +2 $f | cmp - one.tmp; done; rm -r stages.tmp final.tmp one.tmp
# run: netc ir tiny.net --stage=final --split-after=/dev/null/x -o /dev/null
