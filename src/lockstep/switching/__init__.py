"""Which of TensorFlow's switches makes a difference: `lockstep switches`. `asking` is where it begins."""
