// Function attribute for hot loops: GCC compiles one copy per instruction set and picks at load
// time, so that a portable build uses the vectors of the machine it runs on. Only loops marked
// `omp simd` change their order of summation.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CKVSIM_VECTOR_CLONES \
    __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else  // sanitizers start too late for the load-time choice
#define CKVSIM_VECTOR_CLONES
#endif
