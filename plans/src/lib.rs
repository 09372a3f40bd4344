//! The contract of dlirc: what an execution plan is, its file, its checks
