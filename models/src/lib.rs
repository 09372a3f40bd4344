//! Example architectures without weights, and the code that fills them
