// The velocity fields of the benchmark, on GROUPS vectors of particles at once.
//
// A field splits into what depends on time alone, `clock`, and the rest. The formulas are those of
// meanfluid/fields; parameters come in the order of its tables.
#pragma once
#include "elementary.h"

template <int GROUPS> using Row = real[GROUPS];

struct DoubleGyre {
    static constexpr int DIMENSION = 2, CLOCKS = 1, GROUPS = 2;
    double amplitude, perturbation, frequency;
    DoubleGyre(const double* p, long) : amplitude(p[0]), perturbation(p[1]), frequency(p[2]) {}

    INLINE void clock(real t, real* out) const {
        real s, c;
        sincos(frequency * t, s, c);
        out[0] = perturbation * s;
    }

    INLINE void velocity(const Row<GROUPS>* at, const Row<GROUPS>* place, Row<GROUPS>* v) const {
        constexpr double pi = 3.141592653589793;
        for (int g = 0; g < GROUPS; ++g) {
            real lean = at[0][g], x = place[0][g], y = place[1][g], rest = 1.0 - 2.0 * lean;
            real fold = (lean * x + rest) * x, slope = 2.0 * lean * x + rest;
            real sx, cx, sy, cy;
            sincos(pi * fold, sx, cx);
            sincos(pi * y, sy, cy);
            v[0][g] = (-pi * amplitude) * sx * cy;
            v[1][g] = (pi * amplitude) * cx * sy * slope;
        }
    }
};

struct BickleyJet {
    static constexpr int DIMENSION = 2, CLOCKS = 3, GROUPS = 1;
    double speed, width, wavenumber[3], amplitude[3], phase_speed[3];
    BickleyJet(const double* p, long) : speed(p[0]), width(p[1]) {
        for (int n = 0; n < 3; ++n) {
            wavenumber[n] = 2.0 * (n + 1) / p[2];
            amplitude[n] = p[3 + n];
            phase_speed[n] = p[6 + n];
        }
    }

    INLINE void clock(real t, real* out) const {
        for (int n = 0; n < 3; ++n) out[n] = phase_speed[n] * t;
    }

    INLINE void velocity(const Row<GROUPS>* at, const Row<GROUPS>* place, Row<GROUPS>* v) const {
        for (int g = 0; g < GROUPS; ++g) {
            real wave = all(0.0), slope = all(0.0), tanh, sech2;
            for (int n = 0; n < 3; ++n) {
                real s, c;
                sincos(wavenumber[n] * (place[0][g] - at[n][g]), s, c);
                wave += amplitude[n] * c;
                slope += (amplitude[n] * wavenumber[n]) * s;
            }
            tanh_sech2(place[1][g] * (1.0 / width), tanh, sech2);
            real profile = speed * sech2;
            v[0][g] = profile * (1.0 + 2.0 * tanh * wave);
            v[1][g] = -width * profile * slope;
        }
    }
};

struct AbcFlow {
    static constexpr int DIMENSION = 3, CLOCKS = 0, GROUPS = 1;
    double a, b, c;
    AbcFlow(const double* p, long) : a(p[0]), b(p[1]), c(p[2]) {}

    INLINE void clock(real, real*) const {}

    INLINE void velocity(const Row<GROUPS>*, const Row<GROUPS>* place, Row<GROUPS>* v) const {
        for (int g = 0; g < GROUPS; ++g) {
            real s[3], k[3];
            for (int i = 0; i < 3; ++i) sincos(place[i][g], s[i], k[i]);
            v[0][g] = a * s[2] + c * k[1];
            v[1][g] = b * s[0] + a * k[2];
            v[2][g] = c * s[1] + b * k[0];
        }
    }
};

struct PlaneModes {
    static constexpr int DIMENSION = 2, CLOCKS = 1, GROUPS = 4, WIDE = 7;
    const double* table;
    long modes;
    PlaneModes(const double* p, long rows) : table(p), modes(rows) {}

    INLINE void clock(real t, real* out) const { out[0] = t; }

    INLINE void velocity(const Row<GROUPS>* at, const Row<GROUPS>* place, Row<GROUPS>* v) const {
        real u[GROUPS] = {}, w[GROUPS] = {};
        for (long n = 0; n < modes; ++n) {
            const double* p = table + WIDE * n;
#pragma GCC unroll 8
            for (int g = 0; g < GROUPS; ++g) {
                real s, c;
                sincos(p[0] * place[0][g] + (p[1] * place[1][g] + p[2] * at[0][g]), s, c);
                u[g] += p[3] * c + p[5] * s;
                w[g] += p[4] * c + p[6] * s;
            }
        }
        for (int g = 0; g < GROUPS; ++g) {
            v[0][g] = u[g];
            v[1][g] = w[g];
        }
    }
};
