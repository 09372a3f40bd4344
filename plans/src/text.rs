//! Plans as text for people: one line a step, the same for the same plan.

use crate::blocks::{Figures, figures, live};
use crate::describe::{extents, name, tensor};
use crate::plan::{ArenaKind, BufferIndex, Device, ModelIndex, Place, Plan, Step, WeightIndex};
use crate::spec::{
    Epilogue, GatherAxis, KernelSpec, LibrarySpec, MovementSpec, Operand, Phase, Problem, Role,
    Window,
};
use crate::stats::{buffers_by_arena, live_ranges};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// The text form of a plan, valid or not.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_plan(plan, &mut out);
    out
}

fn write_plan(plan: &Plan, out: &mut String) -> fmt::Result {
    let fingerprint = &plan.fingerprint;
    writeln!(
        out,
        "plan for {}, by {}",
        name(&fingerprint.target),
        fingerprint.compiler.escape_debug()
    )?;
    writeln!(out, "options {}", name(&fingerprint.options))?;
    if fingerprint.cuda_driver > 0 {
        writeln!(out, "needs CUDA driver {}", driver(fingerprint.cuda_driver))?;
    }
    for warning in &plan.warnings {
        writeln!(out, "warning: {}", warning.escape_debug())?;
    }
    arenas(plan, out)?;
    weights(plan, out)?;
    for i in 0..plan.models.len() {
        model(plan, i, out)?;
    }
    crate::deploy_lines::write(plan, out)?;
    if !plan.kernels.is_empty() {
        writeln!(out, "\nkernels")?;
    }
    for (i, spec) in plan.kernels.iter().enumerate() {
        writeln!(out, "  k{i} {}: {}", spec.class(), spec.summary())?;
        kernel(spec, out)?;
    }
    crate::code_lines::write(plan, out)
}

impl Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// A version of CUDA as people write it: `13.0`.
pub(crate) fn driver(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    items.join(", ")
}

fn model_name(plan: &Plan, index: usize) -> String {
    match plan.models.get(index) {
        Some(model) => name(&model.name),
        None => format!("?{index}"),
    }
}

fn arenas(plan: &Plan, out: &mut String) -> fmt::Result {
    let live = live_ranges(plan);
    let by_arena = buffers_by_arena(plan);
    for (i, (arena, own)) in plan.arenas.iter().zip(by_arena).enumerate() {
        let sum = own.iter().fold(0u64, |sum, b| {
            sum.saturating_add(plan.buffers[b.index()].bytes)
        });
        let kind = match arena.kind {
            ArenaKind::Io => "inputs and outputs",
            ArenaKind::Scratch => "scratch",
            ArenaKind::Counters => "counters",
        };
        let models = list(arena.models.iter().map(|m| model_name(plan, m.index())));
        writeln!(
            out,
            "\narena {i}: {kind} of {models} on {}, {} bytes planned for {} buffers of {sum}",
            arena.device,
            arena.bytes,
            own.len()
        )?;
        for b in own {
            let buffer = &plan.buffers[b.index()];
            let steps = match &live[b.index()] {
                Some(range) => format!("steps {}..={}", range.start(), range.end()),
                None => "unused".to_owned(),
            };
            writeln!(
                out,
                "  {:>10} +{:<9} b{} {}  {} {steps}",
                buffer.offset,
                buffer.bytes,
                b.0,
                name(&buffer.name),
                model_name(plan, buffer.model.index()),
            )?;
        }
    }
    Ok(())
}

/// The start of a content hash: enough to tell weights apart.
pub(crate) fn short_hash(hash: &[u8; 32]) -> String {
    hash[..4].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn weights(plan: &Plan, out: &mut String) -> fmt::Result {
    if plan.weights.is_empty() {
        return Ok(());
    }
    let sum = plan
        .weights
        .iter()
        .fold(0u64, |sum, w| sum.saturating_add(w.bytes));
    writeln!(out, "\nweights: {} of {sum} bytes", plan.weights.len())?;
    for weight in &plan.weights {
        writeln!(
            out,
            "  {:>10} +{:<9} #{} {}",
            weight.offset,
            weight.bytes,
            short_hash(&weight.hash),
            tensor(weight.dtype, &weight.dims)
        )?;
    }
    Ok(())
}

fn model(plan: &Plan, index: usize, out: &mut String) -> fmt::Result {
    let model = &plan.models[index];
    writeln!(
        out,
        "\nmodel {}: {} nodes in {} steps",
        name(&model.name),
        model.n_nodes,
        model.n_steps
    )?;
    for (what, ports) in [("input", &model.inputs), ("output", &model.outputs)] {
        for port in ports {
            writeln!(
                out,
                "  {what} {}: {} in b{}{}",
                name(&port.name),
                port.ty(),
                port.buffer.0,
                port.size
                    .map_or_else(String::new, |s| format!(", size in b{}", s.count.0))
            )?;
        }
    }
    let blocks: BTreeMap<usize, usize> = (0..)
        .zip(&plan.blocks)
        .filter(|(_, block)| block.model.index() == index)
        .map(|(b, block)| (block.first_step.index(), b))
        .collect();
    if blocks.len() > 1 {
        writeln!(
            out,
            "  {}",
            cut_line(&figures(plan, ModelIndex(index as u32)))
        )?;
    }
    let live = match model.steps().end <= plan.steps.len() {
        true => live(plan, model),
        false => vec![],
    };
    for i in model.steps() {
        let Some(step) = plan.steps.get(i) else {
            break;
        };
        if let Some(&b) = blocks.get(&i) {
            let block = &plan.blocks[b];
            write!(out, "  block {b}, predicted {} ns", block.predicted_ns)?;
            if block.cut_ns > 0 {
                write!(out, ", {} ns of it for the cut", block.cut_ns)?;
            }
            if let Some(measured) = block.measured_ns {
                write!(out, ", measured {measured} ns")?;
            }
            if block.demand.is_known() {
                let needs = [block.demand.compute, block.demand.memory];
                let [compute, memory] = needs.map(crate::deploy_lines::thousandths);
                write!(out, ", needs {compute} compute, {memory} memory")?;
            }
            if let Some(live) = live.get(i - model.steps().start) {
                let s = if live.tensors == 1 { "" } else { "s" };
                write!(
                    out,
                    ", {} tensor{s} of {} bytes alive",
                    live.tensors, live.bytes
                )?;
            }
            writeln!(out)?;
        }
        writeln!(out, "    {}", step_line(plan, i, step))?;
    }
    Ok(())
}

/// `4 blocks, the longest 1250 ns, standard deviation 12.5 ns, overhead 1.23 %`.
pub(crate) fn cut_line(figures: &Figures) -> String {
    format!(
        "{} blocks, the longest {} ns, standard deviation {:.1} ns, overhead {:.2} %",
        figures.n_blocks,
        figures.longest_ns,
        figures.std_ns,
        figures.overhead() * 100.0
    )
}

/// `12: contract Conv+Relu k3(b1:/x, #0a1b2c3d) -> b2:/y, 64x56x56 ...`.
fn step_line(plan: &Plan, i: usize, step: &Step) -> String {
    let kernel = plan.kernels.get(step.kernel.index());
    let specs = kernel.map(KernelSpec::args).unwrap_or_default();
    let roles = specs
        .iter()
        .map(|s| s.role)
        .chain(std::iter::repeat(Role::Read));
    let (mut read, mut written) = (vec![], vec![]);
    for (arg, role) in step.args.iter().zip(roles) {
        let mut text = place(plan, arg.place);
        if arg.offset > 0 {
            text += &format!("+{}", arg.offset);
        }
        match role {
            Role::Read => read.push(text),
            Role::Write => written.push(text),
            Role::Update => written.push(format!("updated {text}")),
        }
    }
    let mut line = format!(
        "{i}: {} {} k{}({}) -> {}",
        kernel.map_or("?", KernelSpec::class),
        name(&step.label),
        step.kernel.0,
        list(read),
        list(written)
    );
    if let Some(kernel) = kernel {
        line += &format!(" | {}", kernel.summary());
    }
    if step.device != Device::Cpu {
        line += &format!(" | on {}", step.device);
    }
    if let Some(code) = &step.code {
        line += &format!(" by {}", crate::code_lines::of_step(code));
    }
    if step.lane > 0 {
        line += &format!(" | lane {}", step.lane);
    }
    if !step.waits.is_empty() {
        line += &format!(" | after {}", list(step.waits.iter().map(|w| w.0)));
    }
    if !step.origin.is_empty() {
        line += &format!(" | {}", list(step.origin.iter().map(|n| name(n))));
    }
    line
}

fn place(plan: &Plan, place: Place) -> String {
    match place {
        Place::Buffer(BufferIndex(b)) => match plan.buffers.get(b as usize) {
            Some(buffer) => format!("b{b}:{}", name(&buffer.name)),
            None => format!("b{b}:?"),
        },
        Place::Weight(WeightIndex(w)) => match plan.weights.get(w as usize) {
            Some(weight) => format!("#{}", short_hash(&weight.hash)),
            None => format!("#?{w}"),
        },
    }
}

fn operand(what: &str, o: &Operand, out: &mut String) -> fmt::Result {
    writeln!(out, "    {what}: {o}")
}

fn gathers(axes: &[GatherAxis]) -> String {
    axes.iter().fold(String::new(), |text, axis| {
        text + &format!(" + {} * in{}[{}]", axis.stride, axis.index, axis.len)
    })
}

fn window(w: &Window, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "    window: {} -> {}, taps {}, strides {}, dilations {}, padding {}",
        extents(&w.input),
        extents(&w.output),
        extents(&w.kernel),
        extents(&w.strides),
        extents(&w.dilations),
        extents(&w.pads_begin)
    )
}

fn epilogue(e: &Epilogue, out: &mut String) -> fmt::Result {
    for (n, input) in e.inputs.iter().enumerate() {
        operand(&format!("in{}", n + 1), input, out)?;
    }
    writeln!(out, "    each: {}", e.tape)?;
    for output in &e.outputs {
        operand("out", output, out)?;
    }
    Ok(())
}

/// The lines about a kernel below its summary.
#[cfg(feature = "json")]
pub(crate) fn kernel_lines(spec: &KernelSpec) -> Vec<String> {
    let mut lines = String::new();
    // Writing to a string does not fail.
    let _ = kernel(spec, &mut lines);
    lines.lines().map(|line| line.trim().to_owned()).collect()
}

/// Everything that the summary leaves out.
fn kernel(spec: &KernelSpec, out: &mut String) -> fmt::Result {
    match spec {
        KernelSpec::Map(s) => {
            for (n, input) in s.inputs.iter().enumerate() {
                let gathers = gathers(&input.gather);
                writeln!(out, "    in{n}: {}{gathers}", input.operand)?;
            }
            writeln!(out, "    each: {}", s.tape)?;
            s.outputs.iter().try_for_each(|o| operand("out", o, out))
        }
        KernelSpec::Row(s) => {
            for (n, input) in s.inputs.iter().enumerate() {
                operand(&format!("in{n}"), input, out)?;
            }
            for phase in &s.phases {
                match phase {
                    Phase::Fold { tape, fold } => {
                        let fold = format!("{fold:?}").to_lowercase();
                        writeln!(out, "    fold: {fold} of {tape}")?;
                    }
                    Phase::Row { tape } => writeln!(out, "    row: {tape}")?,
                }
            }
            if !s.element_outputs.is_empty() {
                writeln!(out, "    each: {}", s.element_tape)?;
            }
            s.element_outputs
                .iter()
                .try_for_each(|o| operand("out", o, out))?;
            s.row_outputs
                .iter()
                .try_for_each(|(n, o)| operand(&format!("out of row{n}"), o, out))
        }
        KernelSpec::Contract(s) => {
            if let Problem::Conv { window: w, .. } | Problem::ConvTranspose { window: w, .. } =
                &s.problem
            {
                window(w, out)?;
            }
            let [(x, _), (w, _)] = s.problem.operands();
            operand("x", x, out)?;
            operand("weight", w, out)?;
            epilogue(&s.epilogue, out)
        }
        KernelSpec::Attention(s) => {
            write!(out, "    scores: times {}", s.scale)?;
            if let Some(cap) = s.softcap {
                write!(out, ", capped at {cap}")?;
            }
            if let Some(n) = s.causal {
                write!(out, ", query i sees keys to i{n:+}")?;
            }
            writeln!(out, "; values of {}", s.v_size)?;
            operand("q", &s.q, out)?;
            operand("k", &s.k, out)?;
            operand("v", &s.v, out)?;
            if let Some(mask) = &s.mask {
                operand("mask", mask, out)?;
            }
            operand("out", &s.out, out)
        }
        KernelSpec::Window(s) => {
            window(&s.window, out)?;
            operand("x", &s.x, out)?;
            if !s.prologue.is_identity() {
                writeln!(out, "    first: {}", s.prologue)?;
            }
            if let Some(weight) = &s.weight {
                operand("weight", weight, out)?;
            }
            writeln!(out, "    fold: {:?}, batch {}", s.fold, s.batch)?;
            epilogue(&s.epilogue, out)?;
            match &s.indices {
                Some(i) if i.column_major => operand("indices, column-major", &i.out, out),
                Some(i) => operand("indices", &i.out, out),
                None => Ok(()),
            }
        }
        KernelSpec::Movement(s) => movement(s, out),
        KernelSpec::Recurrent(s) => {
            writeln!(out, "    cell: {:?} with {:?}", s.cell, s.activations)?;
            if let Some(clip) = s.clip {
                writeln!(out, "    clip: {clip}")?;
            }
            let operands = [
                ("x", Some(&s.x)),
                ("w", Some(&s.w)),
                ("r", Some(&s.r)),
                ("bias", s.bias.as_ref()),
                ("lengths", s.lengths.as_ref()),
                ("initial h", s.initial_h.as_ref()),
                ("initial c", s.initial_c.as_ref()),
                ("peepholes", s.peepholes.as_ref()),
                ("y", s.y.as_ref()),
                ("y h", s.y_h.as_ref()),
                ("y c", s.y_c.as_ref()),
            ];
            operands
                .into_iter()
                .filter_map(|(what, o)| Some((what, o?)))
                .try_for_each(|(what, o)| operand(what, o, out))
        }
        KernelSpec::Library(s) => library(s, out),
        KernelSpec::Transfer(_) => Ok(()),
    }
}

fn movement(spec: &MovementSpec, out: &mut String) -> fmt::Result {
    match spec {
        MovementSpec::Scatter(s) => {
            operand("updates", &s.updates, out)?;
            for (n, index) in s.indices.iter().enumerate() {
                operand(&format!("in{n}"), index, out)?;
            }
            let reduction = format!("{:?}", s.reduction).to_lowercase();
            writeln!(out, "    {reduction} at: {}{}", s.out, gathers(&s.axes))
        }
        MovementSpec::Pad(s) => {
            writeln!(out, "    border: {:?}, x at {:?}", s.mode, s.begin)?;
            operand("x", &s.x, out)?;
            operand("out", &s.out, out)
        }
        MovementSpec::Resize(s) => {
            for (d, axis) in s.axes.iter().enumerate() {
                let mix: Vec<String> = axis
                    .positions
                    .iter()
                    .zip(&axis.factors)
                    .take(8)
                    .map(|(p, f)| format!("{f} of {p}"))
                    .collect();
                let more = if axis.positions.len() > 8 {
                    ", ..."
                } else {
                    ""
                };
                writeln!(
                    out,
                    "    dimension {d}: {} taps: {}{more}",
                    axis.taps,
                    mix.join(", ")
                )?;
            }
            writeln!(out, "    outside: {}", s.outside)?;
            operand("x", &s.x, out)?;
            operand("out", &s.out, out)
        }
    }
}

fn library(spec: &LibrarySpec, out: &mut String) -> fmt::Result {
    match spec {
        LibrarySpec::TopK(s) => {
            let order = if s.largest { "greatest" } else { "least" };
            writeln!(out, "    order: {order} first")?;
            operand("x", &s.x, out)?;
            operand("values", &s.values, out)?;
            operand("indices", &s.indices, out)
        }
        LibrarySpec::CumSum(s) => {
            writeln!(
                out,
                "    sums: exclusive {}, reverse {}",
                s.exclusive, s.reverse
            )?;
            operand("x", &s.x, out)?;
            operand("out", &s.out, out)
        }
        LibrarySpec::GridSample(s) => {
            writeln!(
                out,
                "    samples: {:?}, {:?} outside, aligned corners {}, {}x{} images",
                s.mode, s.padding, s.align_corners, s.batch, s.channels
            )?;
            operand("x", &s.x, out)?;
            operand("grid", &s.grid, out)?;
            operand("out", &s.out, out)
        }
        LibrarySpec::NonMaxSuppression(s) => {
            writeln!(
                out,
                "    picks: {} of a class, overlap {}, score {:?}, by centre {}, batch {}",
                s.max_output, s.iou_threshold, s.score_threshold, s.center_point, s.batch
            )?;
            operand("boxes", &s.boxes_in, out)?;
            operand("scores", &s.scores, out)?;
            operand("out", &s.out, out)
        }
    }
}
