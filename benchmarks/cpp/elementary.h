// Sine, cosine and exponential of vectors of float64, after Cody and Waite's reduction.
//
// Within a few units in the last place of libm for the arguments that the benchmark meets
// (kernels.py checks it before anything is timed). Vectors are the compiler's own, so nothing
// depends on what it makes of a loop; VECTOR_BYTES chooses their width. Products and sums are
// contracted to fused operations, which the reduction relies on.
#pragma once
#include <cmath>
#include <cstdint>

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 32
#endif

constexpr int WIDTH = VECTOR_BYTES / 8;
typedef double real __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t integer __attribute__((vector_size(VECTOR_BYTES)));

#define INLINE inline __attribute__((always_inline))

INLINE real all(double x) { return x - real{}; }

// Adding 1.5 * 2^52 rounds to an integer, which then sits in the low bits of the sum.
constexpr double ROUND = 6755399441055744.0;

INLINE void sincos(real x, real& sine, real& cosine) {
    constexpr double two_over_pi = 0.6366197723675814;
    constexpr double half_pi[2] = {1.5707963267948966, 6.123233995736766e-17};
    constexpr double s[6] = {-0.16666666666666632, 0.008333333333322264,
                             -0.00019841269829683084, 2.7557313647032415e-06,
                             -2.505075085094312e-08, 1.5896361683577818e-10};
    constexpr double c[6] = {0.041666666666666644, -0.0013888888888881966,
                             2.4801587294339532e-05, -2.755731573564053e-07,
                             2.087590793026972e-09, -1.1369015217553673e-11};
    real shifted = x * two_over_pi + ROUND;
    real n = shifted - ROUND;
    integer quadrant = (integer)shifted;
    real r = x - n * half_pi[0];
    r = r - n * half_pi[1];
    real z = r * r;
    real p = all(s[5]), q = all(c[5]);
    for (int k = 4; k >= 0; --k) {
        p = p * z + s[k];
        q = q * z + c[k];
    }
    real near = r * z * p + r;
    real far = z * z * q + (1.0 - 0.5 * z);
    integer odd = (quadrant & 1) != 0;
    real sin_size = odd ? far : near, cos_size = odd ? near : far;
    sine = (real)((integer)sin_size ^ (quadrant >> 1 << 63));
    cosine = (real)((integer)cos_size ^ ((quadrant + 1) >> 1 << 63));
}

// exp(x), and exp(x) - 1 without cancellation near 0, for |x| < 700.
INLINE void exponential(real x, real& exp, real& expm1) {
    constexpr double log2_e = 1.4426950408889634;
    constexpr double ln2[2] = {0.6931471805599453, 2.31904681384628e-17};
    constexpr double odd[5] = {0.16666666666666677, 0.008333333333321511, 0.0001984126988646182,
                               2.755724384394623e-06, 2.5109173093452386e-08};
    constexpr double even[5] = {0.04166666666666667, 0.0013888888888880446,
                                2.4801587333860968e-05, 2.755726539055489e-07,
                                2.091751208453523e-09};
    real shifted = x * log2_e + ROUND;
    real n = shifted - ROUND;
    real r = x - n * ln2[0];
    r = r - n * ln2[1];
    real z = r * r;
    real p = all(odd[4]), q = all(even[4]);
    for (int k = 3; k >= 0; --k) {
        p = p * z + odd[k];
        q = q * z + even[k];
    }
    real reduced = r + z * (r * p + (q * z + 0.5));
    real scale = (real)(((integer)shifted + 1023) << 52);
    exp = scale * reduced + scale;
    expm1 = scale * reduced + (scale - 1.0);
}

// tanh(x) and 1 / cosh(x)^2 by one exponential and one division.
INLINE void tanh_sech2(real x, real& tanh, real& sech2) {
    real size = x < 0.0 ? -x : x;
    real decay, less;
    exponential(-2.0 * size, decay, less);
    real inverse = 1.0 / (1.0 + decay);
    real t = -less * inverse;
    tanh = x < 0.0 ? -t : t;
    sech2 = 4.0 * decay * inverse * inverse;
}
