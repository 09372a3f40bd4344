//! Graphs of the driver, built from schedules.

use super::context::{Context, Current, Event, Stream};
use super::driver::{DriverError, call};
use super::schedule::{Node, Segment, What};
use crate::error::{BindError, StepRef};
use cudarc::driver::sys;
use plans::{Launch, StepIndex, ValidPlan};
use std::ffi::{c_uchar, c_void};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What the nodes of a segment are made from.
pub(crate) trait Material {
    /// The kernel of a launch of a step.
    fn kernel(&self, step: StepIndex, launch: usize) -> Result<sys::CUkernel, BindError>;

    /// The parameters of a step's launches: addresses.
    fn params(&self, step: StepIndex) -> Vec<u64>;

    /// Of a step that copies: from, to, and how many bytes.
    fn copy(&self, step: StepIndex) -> (Location, Location, u64);

    /// The events that take the times of a step: when it starts, when it ends.
    fn events(&self, step: StepIndex) -> Option<(&Event, &Event)>;
}

/// A place in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Location {
    /// Of the host.
    Host(*mut u8),
    /// Of the device.
    Device(u64),
}

/// A graph, ready to be launched.
pub(crate) struct Graph {
    context: Arc<Context>,
    exec: sys::CUgraphExec,
}

// SAFETY: as for `Context`; one graph is launched by one thread at a time, because its session is
// borrowed mutably.
unsafe impl Send for Graph {}
// SAFETY: through a shared reference nothing can be done with it but launch it, which its session
// does when it is borrowed mutably.
unsafe impl Sync for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(current) = self.context.enter() {
            // SAFETY: instantiated in `new`; the session waits for its stream before it lets go.
            let _ = unsafe { call!(current.driver(), cuGraphExecDestroy(self.exec)) };
        }
    }
}

/// A graph that nodes are added to.
struct Builder<'a> {
    current: &'a Current<'a>,
    handle: sys::CUgraph,
    /// The device's, the most urgent first.
    priorities: RangeInclusive<i32>,
}

impl Drop for Builder<'_> {
    fn drop(&mut self) {
        // SAFETY: created in `Graph::new`; what was instantiated from it does not need it.
        let _ = unsafe { call!(self.current.driver(), cuGraphDestroy(self.handle)) };
    }
}

impl Graph {
    /// Builds the graph of a segment.
    ///
    /// # Errors
    ///
    /// If the driver refuses a node: the error names its step.
    pub(crate) fn new(
        plan: &ValidPlan,
        context: &Arc<Context>,
        stream: &Stream,
        segment: &Segment,
        material: &dyn Material,
    ) -> Result<Self, BindError> {
        let first = StepIndex(segment.steps.start as u32);
        let of_step = |step: StepIndex, what: &str| {
            let (step, what) = (Box::new(StepRef::new(plan, step)), what.to_owned());
            move |error: DriverError| BindError::Launch { step, what, error }
        };
        let current = context.enter().map_err(of_step(first, "its graph"))?;
        let driver = current.driver();
        let mut handle = std::ptr::null_mut();
        // SAFETY: it writes a handle; no flags exist.
        let created = current.keep(unsafe { call!(driver, cuGraphCreate(&raw mut handle, 0)) });
        created.map_err(of_step(first, "its graph"))?;
        let by_urgency = segment.nodes.iter().any(|node| node.urgency > 0);
        let priorities = match by_urgency {
            true => current.priorities().map_err(of_step(first, "its graph"))?,
            false => 0..=0,
        };
        let builder = Builder {
            current: &current,
            handle,
            priorities,
        };
        let mut handles: Vec<sys::CUgraphNode> = Vec::with_capacity(segment.nodes.len());
        for node in &segment.nodes {
            let added = match node.what {
                What::Launch(n) => {
                    let kernel = material.kernel(node.step, n)?;
                    let launch = launch_of(plan, node.step, n);
                    let mut params = material.params(node.step);
                    builder
                        .launch(node, &handles, kernel, launch, &mut params)
                        .map_err(of_step(node.step, &described(launch)))
                }
                What::Copy => builder
                    .copy(node, &handles, material.copy(node.step))
                    .map_err(of_step(node.step, "its copy")),
                What::Begin | What::End => {
                    let events = material.events(node.step);
                    let (begin, end) = events.expect("timed graphs have events for every step");
                    let event = if node.what == What::Begin { begin } else { end };
                    builder
                        .record(node, &handles, event)
                        .map_err(of_step(node.step, "its clock"))
                }
            };
            handles.push(added?);
        }
        let mut exec = std::ptr::null_mut();
        use sys::CUgraphInstantiate_flags_enum as Flags;
        let mut how = sys::CUDA_GRAPH_INSTANTIATE_PARAMS {
            flags: match by_urgency {
                true => Flags::CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY
                    .0
                    .into(),
                false => 0,
            },
            hUploadStream: std::ptr::null_mut(),
            hErrNode_out: std::ptr::null_mut(),
            result_out: sys::CUgraphInstantiateResult::CUDA_GRAPH_INSTANTIATE_SUCCESS,
        };
        let how = &raw mut how;
        // SAFETY: it writes a handle, and to `how`; the graph is alive.
        let result = current.keep(unsafe {
            call!(
                driver,
                cuGraphInstantiateWithParams(&raw mut exec, builder.handle, how)
            )
        });
        result.map_err(|error| {
            // SAFETY: `how` is alive; only the handle is read, of which every value is valid.
            let failed = unsafe { (&raw const (*how).hErrNode_out).read() };
            let at = handles.iter().position(|&node| node == failed);
            let step = at.map_or(first, |i| segment.nodes[i].step);
            of_step(step, "the graph that it is in")(error)
        })?;
        let graph = Self {
            context: Arc::clone(context),
            exec,
        };
        // SAFETY: both are alive.
        let uploaded =
            current.keep(unsafe { call!(driver, cuGraphUpload(graph.exec, stream.handle())) });
        uploaded.map_err(of_step(first, "its graph"))?;
        Ok(graph)
    }

    /// Starts it after all that was commanded to `stream`.
    ///
    /// # Safety
    /// The memory that its nodes touch is there, and nobody else touches it, until the stream was
    /// waited for.
    pub(crate) unsafe fn launch(
        &self,
        current: &Current<'_>,
        stream: &Stream,
    ) -> Result<(), DriverError> {
        // SAFETY: both are alive; the memory is as the caller says.
        current.keep(unsafe { call!(current.driver(), cuGraphLaunch(self.exec, stream.handle())) })
    }
}

fn launch_of(plan: &ValidPlan, step: StepIndex, n: usize) -> &Launch {
    let code = plan.steps[step.index()].code.as_ref();
    let code = code.expect("steps that launch have code");
    &plan.codes[code.code.index()].launches[n]
}

/// A launch, for people.
fn described(launch: &Launch) -> String {
    let mut text = format!(
        "the launch of `{}` with {:?} blocks of {:?} threads",
        launch.function, launch.grid, launch.block
    );
    if launch.shared_bytes > 0 {
        text += &format!(" and {} bytes of shared memory", launch.shared_bytes);
    }
    if launch.cluster != [1; 3] {
        text += &format!(" in clusters of {:?}", launch.cluster);
    }
    if launch.cooperative {
        text += ", all at once";
    }
    text
}

impl Builder<'_> {
    /// Adds a node with the edges of `node`.
    ///
    /// # Safety
    /// What `params` points to is there during the call.
    unsafe fn add(
        &self,
        node: &Node,
        handles: &[sys::CUgraphNode],
        mut params: sys::CUgraphNodeParams,
    ) -> Result<sys::CUgraphNode, DriverError> {
        let after: Vec<sys::CUgraphNode> = node.after.iter().map(|e| handles[e.node]).collect();
        let edges: Vec<sys::CUgraphEdgeData> = node
            .after
            .iter()
            .map(|edge| {
                use sys::CUgraphDependencyType as Type;
                let (port, of_type) = if edge.early {
                    (
                        sys::CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC,
                        Type::CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC,
                    )
                } else {
                    (
                        sys::CU_GRAPH_KERNEL_NODE_PORT_DEFAULT,
                        Type::CU_GRAPH_DEPENDENCY_TYPE_DEFAULT,
                    )
                };
                sys::CUgraphEdgeData {
                    from_port: port as c_uchar,
                    to_port: 0,
                    type_: of_type as c_uchar,
                    reserved: [0; 5],
                }
            })
            .collect();
        let mut added = std::ptr::null_mut();
        // SAFETY: the graph is alive, the lists are equally long and live through the call, and so
        // does what the parameters point to, as the caller says; the driver copies all of it.
        self.current.keep(unsafe {
            call!(
                self.current.driver(),
                cuGraphAddNode_v2(
                    &raw mut added,
                    self.handle,
                    after.as_ptr(),
                    edges.as_ptr(),
                    after.len(),
                    &raw mut params,
                )
            )
        })?;
        Ok(added)
    }

    fn launch(
        &self,
        node: &Node,
        handles: &[sys::CUgraphNode],
        kernel: sys::CUkernel,
        launch: &Launch,
        params: &mut [u64],
    ) -> Result<sys::CUgraphNode, DriverError> {
        let mut pointers: Vec<*mut c_void> = params
            .iter_mut()
            .map(|address| std::ptr::from_mut(address).cast())
            .collect();
        let described = sys::CUDA_KERNEL_NODE_PARAMS_v3 {
            func: std::ptr::null_mut(),
            gridDimX: launch.grid[0],
            gridDimY: launch.grid[1],
            gridDimZ: launch.grid[2],
            blockDimX: launch.block[0],
            blockDimY: launch.block[1],
            blockDimZ: launch.block[2],
            sharedMemBytes: launch.shared_bytes,
            kernelParams: pointers.as_mut_ptr(),
            extra: std::ptr::null_mut(),
            kern: kernel,
            ctx: std::ptr::null_mut(),
        };
        let mut all = node_params(sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL);
        all.__bindgen_anon_1.kernel = described;
        // SAFETY: the kernel takes as many parameters as there are, each of 8 bytes: that was
        // checked when its image was loaded. They and the pointers to them live through the call.
        let added = unsafe { self.add(node, handles, all) }?;
        use sys::CUlaunchAttributeID as Attribute;
        if node.urgency > 0 {
            let priority = self.priorities.end().saturating_sub(node.urgency.into());
            let value = sys::CUlaunchAttributeValue {
                priority: priority.max(*self.priorities.start()),
            };
            self.set(added, Attribute::CU_LAUNCH_ATTRIBUTE_PRIORITY, value)?;
        }
        if launch.cooperative {
            let value = sys::CUlaunchAttributeValue { cooperative: 1 };
            self.set(added, Attribute::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, value)?;
        }
        if launch.cluster != [1; 3] {
            let [x, y, z] = launch.cluster;
            let value = sys::CUlaunchAttributeValue {
                clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y, z },
            };
            self.set(
                added,
                Attribute::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                value,
            )?;
        }
        Ok(added)
    }

    fn set(
        &self,
        node: sys::CUgraphNode,
        attribute: sys::CUlaunchAttributeID,
        value: sys::CUlaunchAttributeValue,
    ) -> Result<(), DriverError> {
        // SAFETY: the node is a kernel's in this graph; the value is of the attribute's kind.
        self.current.keep(unsafe {
            call!(
                self.current.driver(),
                cuGraphKernelNodeSetAttribute(node, attribute, &raw const value)
            )
        })
    }

    fn copy(
        &self,
        node: &Node,
        handles: &[sys::CUgraphNode],
        (from, to, bytes): (Location, Location, u64),
    ) -> Result<sys::CUgraphNode, DriverError> {
        use sys::CUmemorytype as Kind;
        let split = |location| match location {
            Location::Host(at) => (Kind::CU_MEMORYTYPE_HOST, at, 0),
            Location::Device(at) => (Kind::CU_MEMORYTYPE_DEVICE, std::ptr::null_mut(), at),
        };
        let (from_kind, from_host, from_device) = split(from);
        let (to_kind, to_host, to_device) = split(to);
        let bytes = bytes as usize;
        let mut all = node_params(sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEMCPY);
        all.__bindgen_anon_1.memcpy = sys::CUDA_MEMCPY_NODE_PARAMS {
            flags: 0,
            reserved: 0,
            copyCtx: self.current.context().handle(),
            copyParams: sys::CUDA_MEMCPY3D {
                srcXInBytes: 0,
                srcY: 0,
                srcZ: 0,
                srcLOD: 0,
                srcMemoryType: from_kind,
                srcHost: from_host.cast_const().cast(),
                srcDevice: from_device,
                srcArray: std::ptr::null_mut(),
                reserved0: std::ptr::null_mut(),
                srcPitch: bytes,
                srcHeight: 1,
                dstXInBytes: 0,
                dstY: 0,
                dstZ: 0,
                dstLOD: 0,
                dstMemoryType: to_kind,
                dstHost: to_host.cast(),
                dstDevice: to_device,
                dstArray: std::ptr::null_mut(),
                reserved1: std::ptr::null_mut(),
                dstPitch: bytes,
                dstHeight: 1,
                WidthInBytes: bytes,
                Height: 1,
                Depth: 1,
            },
        };
        // SAFETY: the parameters point to nothing that adding the node reads.
        unsafe { self.add(node, handles, all) }
    }

    fn record(
        &self,
        node: &Node,
        handles: &[sys::CUgraphNode],
        event: &Event,
    ) -> Result<sys::CUgraphNode, DriverError> {
        let mut all = node_params(sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EVENT_RECORD);
        all.__bindgen_anon_1.eventRecord = sys::CUDA_EVENT_RECORD_NODE_PARAMS {
            event: event.handle(),
        };
        // SAFETY: the event is alive; it lives as long as the graphs that record it.
        unsafe { self.add(node, handles, all) }
    }
}

/// Parameters of a node of a kind, all zeros.
fn node_params(kind: sys::CUgraphNodeType) -> sys::CUgraphNodeParams {
    sys::CUgraphNodeParams {
        type_: kind,
        reserved0: [0; 3],
        __bindgen_anon_1: sys::CUgraphNodeParams_st__bindgen_ty_1 { reserved1: [0; 29] },
        reserved2: 0,
    }
}
