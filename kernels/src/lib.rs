//! The code generator of dlirc: regions of operators to kernel specs
