# run: netc ir tiny.net --passes=
# run: netc ir tiny.net --passes='lower, cse' -o lower.ir.tmp && rm lower.ir.tmp
# run: netc ir tiny.net --passes=canonicalize
# run: netc ir tiny.net --disable-pass=fuse_epilog
# run: netc ir tiny.net --passes=lower,fold_batch_norm
# run: netc ir tiny.net --passes='train:lower;train:dce'
# run: netc ir tiny.net --mode=infer --passes=train:lower
# run: netc ir tiny.net --mode=infer --disable-pass=recompute
# run: netc ir tiny.net --print-after=unknown
# run: netc ir tiny.net --print-after=cse#4
# run: netc ir tiny.net --stage=source --remarks
# run: netc ir tiny.net --stage=autodiff --passes=lower
# run: netc ir tiny.net --mode=infer --recompute=3
# run: netc ir tiny.net --recompute=300
# run: netc eval tiny.net --weights x --passes=lower,split_batch_norm,autodiff
# run: netc eval tiny.net --weights x --passes=train:default
# run: netc bench tiny.net --mode=infer --passes=lower,split_batch_norm,autodiff
# run: netc train tiny.net --data synthetic --passes=
# run: netc train tiny.net --data synthetic --passes=lower,split_batch_norm
# run: netc bench tiny.net --passes=lower
# run: netc bench tiny.net --mode=infer --passes=infer:dce
# run: netc train tiny.net --data synthetic --passes=dce --memory-limit=1k
# run: netc build tiny.net --passes=lower,split_batch_norm -o tiny.tmp
# run: netc build --infer tiny.net --weights x -o tiny.a --memory-limit 1G
# run: netc ir ../passes/autodiff_relu.ir --batch=3
# run: netc ir ../passes/autodiff_relu.ir --mode=train
# run: netc ir ../passes/autodiff_relu.ir --set train.epochs=3
# run: netc passes tiny.net
# run: netc passes tiny.net --mode=infer --passes='train:lower; infer:-cse#1+dce@after:lower'
# run: netc ir tiny.net --mode=infer --passes='lower, split_batch_norm, dce' --print-after=dce --print-after=lower 2>&1 >/dev/null | grep '^#'
# run: netc passes tiny.net --mode=infer --passes='default,fuse_maps{max_elements=3},canonicalise{x=1}'
# run: netc passes tiny.net --mode=infer --passes='default,fuse_maps{max_elements=3,max_node=8}'
# run: netc passes tiny.net --mode=infer --passes='default,fuse_maps{max_elements=3}' | grep -e --passes -e fuse_maps
# run: netc help passes
# run: netc ir tiny.net --disable-pass=cse --print-after=cse
# run: netc ir tiny.net --stage=autodiff --print-after=dce
# run: netc ir tiny.net --stage=final -o fused.ir && netc ir fused.ir --print-after=dce ; netc ir fused.ir --time-passes ; rm fused.ir
# run: netc ir tiny.net --stage=autodiff -o some.ir && netc ir some.ir --disable-pass=cse#1 ; netc passes some.ir | head -n 3 ; rm some.ir
