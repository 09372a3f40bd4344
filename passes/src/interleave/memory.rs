//! One arena for models that never run at once.

use plans::{ArenaIndex, ArenaKind, ModelIndex, Plan};

/// Lets the models of `group`, which never run at once, use one arena for intermediate results on
/// each device: as large as the largest of theirs. Gives the bytes that are saved.
///
/// Inputs, outputs and counters stay apart: they live between runs. Arenas that serve other models
/// too are left as they are.
pub fn share_arenas(plan: &mut Plan, group: &[ModelIndex]) -> u64 {
    let mut devices: Vec<plans::Device> = plan.arenas.iter().map(|a| a.device).collect();
    devices.sort_unstable();
    devices.dedup();
    let mut saved = 0;
    for device in devices {
        let own = |i: &usize| {
            let arena = &plan.arenas[*i];
            arena.device == device
                && arena.kind == ArenaKind::Scratch
                && !arena.models.is_empty()
                && arena.models.iter().all(|m| group.contains(m))
        };
        let shared: Vec<usize> = (0..plan.arenas.len()).filter(own).collect();
        let Some((&keep, gone)) = shared.split_first() else {
            continue;
        };
        for &arena in gone {
            let bytes = std::mem::take(&mut plan.arenas[arena].bytes);
            let models = std::mem::take(&mut plan.arenas[arena].models);
            saved += bytes.min(plan.arenas[keep].bytes);
            let kept = &mut plan.arenas[keep];
            kept.bytes = kept.bytes.max(bytes);
            kept.models.extend(models);
        }
        plan.arenas[keep].models.sort_unstable();
        plan.arenas[keep].models.dedup();
        for buffer in &mut plan.buffers {
            if gone.contains(&buffer.arena.index()) {
                buffer.arena = ArenaIndex(keep as u32);
            }
        }
    }
    drop_unused(plan);
    saved
}

/// Takes out arenas that serve nobody.
fn drop_unused(plan: &mut Plan) {
    let mut kept = 0;
    let numbers: Vec<u32> = plan
        .arenas
        .iter()
        .map(|arena| {
            let number = kept;
            kept += u32::from(!arena.models.is_empty());
            number
        })
        .collect();
    plan.arenas.retain(|arena| !arena.models.is_empty());
    for buffer in &mut plan.buffers {
        buffer.arena = ArenaIndex(numbers[buffer.arena.index()]);
    }
}
