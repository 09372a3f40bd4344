//! The predictor of dlirc: what running an operator costs
