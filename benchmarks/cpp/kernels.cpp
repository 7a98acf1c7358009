// Equal Runge-Kutta steps of many particles: what an expert would write by hand for each field.
//
// A group of vectors of particles keeps its state in registers over all steps. Every weight of a
// scheme is a constant, so zero weights vanish. SHARED says that all particles start together: then
// what depends on time alone is computed once for all of them. tableaux.h is generated.
#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "elementary.h"
#include "fields.h"
#include "tableaux.h"

template <class Field, class Scheme, bool SHARED> struct Stepper {
    static constexpr int D = Field::DIMENSION, G = Field::GROUPS, S = Scheme::STAGES;
    static constexpr int K = std::max(Field::CLOCKS, 1), LANES = G * WIDTH;
    using Rows = Row<G>[D];
    using Clocks = Row<G>[K];

    const Field& field;
    const double* shared;  // (steps, stages, clocks), if SHARED
    double start, h;

    template <int I, int J> INLINE static void term(const Rows* stage, Rows& sum) {
        if constexpr (Scheme::A[I][J] != 0.0)
            for (int d = 0; d < D; ++d)
                for (int g = 0; g < G; ++g) sum[d][g] += Scheme::A[I][J] * stage[J][d][g];
    }

    template <int J> INLINE static void weigh(const Rows* stage, Rows& sum) {
        if constexpr (Scheme::B[J] != 0.0)
            for (int d = 0; d < D; ++d)
                for (int g = 0; g < G; ++g) sum[d][g] += Scheme::B[J] * stage[J][d][g];
    }

    template <int I, int... J>
    INLINE void evaluate(long step, const Rows& x, Rows* stage,
                         std::integer_sequence<int, J...>) const {
        Rows place = {};
        Clocks at;
        (term<I, J>(stage, place), ...);
        for (int d = 0; d < D; ++d)
            for (int g = 0; g < G; ++g) place[d][g] = x[d][g] + h * place[d][g];
        if constexpr (SHARED) {
            const double* clock = shared + (step * S + I) * K;
            for (int k = 0; k < K; ++k)
                for (int g = 0; g < G; ++g) at[k][g] = all(clock[k]);
        } else {
            for (int g = 0; g < G; ++g) {
                real own[K], t = all(start + (step + Scheme::C[I]) * h);
                asm("" : "+x"(t));  // a time for every particle: not to be shared by the compiler
                field.clock(t, own);
                for (int k = 0; k < K; ++k) at[k][g] = own[k];
            }
        }
        field.velocity(at, place, stage[I]);
    }

    template <int... I>
    INLINE void advance(long step, Rows& x, std::integer_sequence<int, I...>) const {
        Rows stage[S], gain = {};
        (evaluate<I>(step, x, stage, std::make_integer_sequence<int, I>{}), ...);
        (weigh<I>(stage, gain), ...);
        for (int d = 0; d < D; ++d)
            for (int g = 0; g < G; ++g) x[d][g] += h * gain[d][g];
    }

    void carry(const double* from, double* to, long count, long steps) const {
        Rows x;
        for (int k = 0; k < LANES; ++k)
            for (int d = 0; d < D; ++d)
                x[d][k / WIDTH][k % WIDTH] = from[std::min<long>(k, count - 1) * D + d];
        for (long step = 0; step < steps; ++step)
            advance(step, x, std::make_integer_sequence<int, S>{});
        for (long k = 0; k < std::min<long>(count, LANES); ++k)
            for (int d = 0; d < D; ++d) to[k * D + d] = x[d][k / WIDTH][k % WIDTH];
    }
};

template <class Field, class Scheme, bool SHARED>
void integrate(const double* parameters, long rows, const double* from, double* to, long count,
               double start, double end, long steps, int threads) {
    using Kernel = Stepper<Field, Scheme, SHARED>;
    constexpr int S = Kernel::S, K = Kernel::K;
    const Field field(parameters, rows);
    const double h = (end - start) / steps;
    std::vector<double> shared(SHARED ? steps * S * K : 0);
    for (long at = 0; SHARED && at < steps * S; ++at) {
        real own[K] = {};
        field.clock(all(start + (at / S + Scheme::C[at % S]) * h), own);
        for (int k = 0; k < K; ++k) shared[at * K + k] = own[k][0];
    }
    const Kernel kernel{field, shared.data(), start, h};
#pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
    for (long first = 0; first < count; first += Kernel::LANES)
        kernel.carry(from + first * Kernel::D, to + first * Kernel::D, count - first, steps);
}

#define KERNEL(name, Field, Scheme)                                                               \
    extern "C" void name(const double* parameters, long rows, const double* from, double* to,    \
                         long count, double start, double end, long steps, int threads,          \
                         int together) {                                                          \
        auto run = together ? integrate<Field, Scheme, true> : integrate<Field, Scheme, false>;   \
        run(parameters, rows, from, to, count, start, end, steps, threads);                       \
    }

KERNEL(double_gyre_rk4, DoubleGyre, Rk4)
KERNEL(double_gyre_dop853, DoubleGyre, Dop853)
KERNEL(bickley_jet_rk4, BickleyJet, Rk4)
KERNEL(bickley_jet_dop853, BickleyJet, Dop853)
KERNEL(abc_flow_rk4, AbcFlow, Rk4)
KERNEL(abc_flow_dop853, AbcFlow, Dop853)
KERNEL(kinematic_simulation_rk4, PlaneModes, Rk4)
KERNEL(kinematic_simulation_dop853, PlaneModes, Dop853)

// For the check of accuracy: rows of `out` are sin, cos, tanh, 1 / cosh^2; count divides WIDTH.
extern "C" void elementary(const double* x, double* out, long count) {
    for (long first = 0; first < count; first += WIDTH) {
        real in, value[4];
        for (int k = 0; k < WIDTH; ++k) in[k] = x[first + k];
        sincos(in, value[0], value[1]);
        tanh_sech2(in, value[2], value[3]);
        for (int i = 0; i < 4; ++i)
            for (int k = 0; k < WIDTH; ++k) out[i * count + first + k] = value[i][k];
    }
}
