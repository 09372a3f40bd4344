//! The language of dlirc: typed graphs of tensor operators
