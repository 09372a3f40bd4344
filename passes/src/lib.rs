//! The optimiser of dlirc: from a program of operators to a plan
