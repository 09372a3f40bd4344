//! The front end of dlirc: ONNX bytes to ir::Program
