//! The schedules of plans for a device, as the trace device writes them down.

use crate::plans;
use ::plans::ModelIndex;
use dlirc_runtime::Loaded;
use dlirc_runtime::device::replay;
use dlirc_runtime::trace::Trace;

fn trace(loaded: &Loaded) -> String {
    let mut trace = Trace::new(loaded.plan());
    let Ok(()) = replay(loaded.plan(), ModelIndex(0), &mut trace);
    trace.text().to_owned()
}

#[test]
fn steps_of_several_launches() {
    assert_eq!(
        trace(&plans::chain(&["fill", "use", "reset"])),
        "begin tested
graph of steps 0 to 1
launch 0 lane 0 map Add: read arena 0+0, read weight 0, write arena 1+0
  node 0: fill 8x1x1 blocks of 128x1x1 threads
  node 1: use 8x1x1 blocks of 128x1x1 threads, after 0 early
  node 2: reset 1x1x1 blocks of 1x1x1 threads, after 1 early
launch 1 lane 0 map Add: read arena 1+0, read weight 1, write arena 0+4096
  node 3: fill 8x1x1 blocks of 128x1x1 threads, after 2 early
  node 4: use 8x1x1 blocks of 128x1x1 threads, after 3 early
  node 5: reset 1x1x1 blocks of 1x1x1 threads, after 4 early
end tested
"
    );
}

#[test]
fn lanes_join_and_waits_in_vain_are_left_out() {
    assert_eq!(
        trace(&plans::lanes()),
        "begin tested
graph of steps 0 to 4
launch 0 lane 0 map Add: read arena 0+0, read weight 0, write arena 1+0
  node 0: add 8x1x1 blocks of 128x1x1 threads
launch 1 lane 1 map Add: read arena 0+0, read weight 1, write arena 1+4096
  node 1: add 8x1x1 blocks of 128x1x1 threads
launch 2 lane 2 map Add: read arena 0+0, read weight 2, write arena 1+8192
  node 2: add 8x1x1 blocks of 128x1x1 threads
wait 3 lane 0 on 0
wait 3 lane 0 on 1
launch 3 lane 0 map Add: read arena 1+0, read arena 1+4096, write arena 1+12288
  node 3: add 8x1x1 blocks of 128x1x1 threads, after 0 and 1
wait 4 lane 0 on 1
wait 4 lane 0 on 2
launch 4 lane 0 map Add: read arena 1+12288, read arena 1+8192, write arena 0+4096
  node 4: add 8x1x1 blocks of 128x1x1 threads, after 2 and 3
end tested
"
    );
}

/// Both branches start early, as the step before them is all that they wait for; the step that
/// joins them does not.
#[test]
fn branches_start_early_and_joins_do_not() {
    assert_eq!(
        trace(&plans::branches()),
        "begin tested
graph of steps 0 to 4
launch 0 lane 0 map Add: read arena 0+0, read weight 0, write arena 1+0
  node 0: add 8x1x1 blocks of 128x1x1 threads
launch 1 lane 0 map Add: read arena 1+0, read weight 1, write arena 1+4096
  node 1: add 8x1x1 blocks of 128x1x1 threads, after 0 early
wait 2 lane 1 on 0
launch 2 lane 1 map Add: read arena 1+0, read weight 2, write arena 1+8192
  node 2: add 8x1x1 blocks of 128x1x1 threads, after 0 early
wait 3 lane 0 on 2
launch 3 lane 0 map Add: read arena 1+4096, read arena 1+8192, write arena 1+0
  node 3: add 8x1x1 blocks of 128x1x1 threads, after 1 and 2
launch 4 lane 0 map Add: read arena 1+0, read weight 1, write arena 0+4096
  node 4: add 8x1x1 blocks of 128x1x1 threads, after 3 early
end tested
"
    );
}

#[test]
fn the_host_comes_in_between() {
    assert_eq!(
        trace(&plans::mixed()),
        "begin tested
graph of steps 0 to 2
launch 0 lane 0 transfer Copy: read arena 3+0, write arena 1+0
  node 0: copy 4096 bytes
launch 1 lane 0 map Add: read arena 1+0, read weight 0, write arena 1+4096
  node 1: add 8x1x1 blocks of 128x1x1 threads, after 0
launch 2 lane 0 transfer Copy: read arena 1+4096, write arena 4+0
  node 2: copy 4096 bytes, after 1
launch 3 lane 0 map Add: read arena 4+0, read weight 1, write arena 4+4096
graph of steps 4 to 6
launch 4 lane 0 transfer Copy: read arena 4+4096, write arena 1+8192
  node 0: copy 4096 bytes
launch 5 lane 0 map Add: read arena 1+8192, read weight 2, write arena 1+12288
  node 1: add 8x1x1 blocks of 128x1x1 threads, after 0
launch 6 lane 0 transfer Copy: read arena 1+12288, write arena 3+4096
  node 2: copy 4096 bytes, after 1
end tested
"
    );
}
