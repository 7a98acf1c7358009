// Product B-splines on a uniform grid, as one would write them in C++: the peer of
// meanfluid.backends.interpolation, with the same coefficients and the same layout in memory.
// A: axes, time first if there is one; P: degree along all of them; C: components.

#include <cmath>

namespace {

template <int P> void weights(double u, double *w);

template <> void weights<1>(double u, double *w) {
    w[0] = 1 - u;
    w[1] = u;
}

template <> void weights<3>(double u, double *w) {
    const double s = 1 - u;
    w[0] = s * s * s * (1. / 6);
    w[1] = u * u * (0.5 * u - 1) + 2. / 3;
    w[2] = s * s * (0.5 * s - 1) + 2. / 3;
    w[3] = u * u * u * (1. / 6);
}

double outer(double u) {
    return ((((1. / 24 * u - 1. / 6) * u + 1. / 6) * u + 1. / 6) * u - 5. / 12) * u + 13. / 60;
}

double inner(double u) { return ((1. / 4 - 1. / 12 * u) * u * u - 1. / 2) * u * u + 11. / 20; }

template <> void weights<5>(double u, double *w) {
    const double s = 1 - u;
    w[0] = s * s * s * s * s * (1. / 120);
    w[1] = outer(u);
    w[2] = inner(u);
    w[3] = inner(s);
    w[4] = outer(s);
    w[5] = u * u * u * u * u * (1. / 120);
}

template <int K, int A, int P, int C>
inline void add(const double *c, const long *stride, const double (*w)[P + 1], double factor,
                double *row) {
    if constexpr (K == A - 1) {
        for (int m = 0; m < C * (P + 1); ++m) row[m] += factor * c[m];
    } else {
        for (int k = 0; k <= P; ++k)
            add<K + 1, A, P, C>(c + k * stride[K], stride, w, factor * w[K][k], row);
    }
}

template <int A, int P, int C>
void evaluate(const double *table, const double *__restrict samples,
              const double *__restrict points, double *__restrict velocity, long count) {
    struct {
        double lower, inverse, cells, share;
        bool periodic;
    } axes[A];
    for (int k = 0; k < A; ++k) {
        const double *axis = table + 5 * k;
        axes[k] = {axis[0], axis[2], axis[3], 1 / axis[3], axis[4] != 0};
    }
    long stride[A];
    stride[A - 1] = C;
    for (int k = A - 1; k > 0; --k) stride[k - 1] = stride[k] * ((long)table[5 * k + 3] + P);
    for (long i = 0; i < count; ++i) {
        double w[A][P + 1], row[C * (P + 1)] = {};
        long start = 0;
        for (int k = 0; k < A; ++k) {
            const auto &axis = axes[k];
            const double scaled = (points[k * count + i] - axis.lower) * axis.inverse;
            double cell = std::floor(scaled), index = cell;
            if (axis.periodic) {
                index -= axis.cells * std::floor(cell * axis.share);
                index = index < 0 ? index + axis.cells : index;
                index = index < axis.cells ? index : index - axis.cells;
            } else {
                index = cell = cell > 0 ? (cell < axis.cells - 1 ? cell : axis.cells - 1) : 0;
            }
            weights<P>(scaled - cell, w[k]);
            start += (long)index * stride[k];
        }
        add<0, A, P, C>(samples + start, stride, w, 1., row);
        for (int c = 0; c < C; ++c) {
            double sum = 0;
            for (int m = 0; m <= P; ++m) sum += w[A - 1][m] * row[C * m + c];
            velocity[c * count + i] = sum;
        }
    }
}

} // namespace

#define PEER(A, P, C)                                                                             \
    extern "C" void evaluate_##A##_##P##_##C(const double *table, const double *samples,          \
                                             const double *points, double *velocity,              \
                                             long count) {                                        \
        evaluate<A, P, C>(table, samples, points, velocity, count);                               \
    }

PEER(2, 1, 2)
PEER(2, 3, 2)
PEER(2, 5, 2)
PEER(3, 3, 2)
PEER(3, 1, 3)
PEER(3, 3, 3)
PEER(3, 5, 3)
PEER(4, 3, 3)
