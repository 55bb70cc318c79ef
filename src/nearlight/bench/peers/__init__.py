"""Other engines on the same model, the same threads and the same workloads, in turns with this one.

    llama.cpp      the package llama-cpp-python; a GGUF file, written from the same weights if there is none
    transformers   the package transformers; the same shape in bfloat16, which is what it computes in
    openvino       the package openvino; a model exported for it

Each runs in a process of its own (`process` starts it, `child` is its other end), since two engines in one process
would share thread pools and allocators. None of them is a dependency: what is not installed is said in one line.
"""
