// Energy and forces of one equivariant network (redoxmd.model.painn) on one CPU core, forward and backward by hand.
//
// A pair of atoms is visited once and serves both directions: its filters W = sum_k w_k R_k(r) are made in the first-level
// cache from the radial basis, used, and forgotten; the backward pass makes them again with their slopes W', so that
// dE/dr = <dE/dW, W'> needs no array over pairs and features. Matrix products are one register tile, used for filters and
// layers alike. Rows of features are padded with zeros to whole vectors; padded weights are zero, so they stay zero.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace {

// A register tile of a matrix product: ROWS by TILE vectors, as many as there are registers for.
#ifdef __AVX512F__
constexpr int WIDTH = 16, TILE = 4;
#else
constexpr int WIDTH = 8, TILE = 2;
#endif
constexpr int ROWS = 6;
// Atoms whose layers are worked through together, in the second-level cache.
constexpr int BLOCK = 48;

typedef float Vector __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Integers __attribute__((vector_size(4 * WIDTH)));

inline const Vector &at(const float *p) { return *reinterpret_cast<const Vector *>(p); }
inline Vector &at(float *p) { return *reinterpret_cast<Vector *>(p); }

inline float sum(Vector v) {
    float total = 0;
    for (int i = 0; i < WIDTH; i++) total += v[i];
    return total;
}

// exp in single precision: 2^n times a polynomial on [-ln2/2, ln2/2].
inline Vector exponential(Vector x) {
    const Vector low = Vector{} - 87.0f, high = Vector{} + 87.0f;
    x = x < low ? low : x;
    x = x > high ? high : x;
    const Vector magic = Vector{} + 12582912.0f;
    Vector n = (x * 1.44269504f + magic) - magic;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Integers exponent = __builtin_convertvector(n, Integers);
    return reinterpret_cast<Vector>((exponent + 127) << 23) * p;
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

inline Vector root(Vector x) {
    Vector y;
    for (int i = 0; i < WIDTH; i++) y[i] = __builtin_sqrtf(x[i]);
    return y;
}

class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    Buffer(Buffer &&other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
    ~Buffer() { std::free(data_); }
    float *sized(size_t size) {
        if (size > size_) {
            std::free(data_);
            data_ = static_cast<float *>(std::aligned_alloc(64, (size * sizeof(float) + 63) / 64 * 64));
            if (!data_) throw std::bad_alloc();
            size_ = size;
        }
        return data_;
    }
    float *get() const { return data_; }

  private:
    float *data_ = nullptr;
    size_t size_ = 0;
};

enum class Into { Fresh, Added };

template <int R, int N>
inline void tile(const float *a, int lda, const float *b, int ldb, int depth, float *c, int ldc, const float *bias,
                 Into into) {
    Vector acc[R][N];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < N; v++)
            acc[r][v] = into == Into::Added ? at(c + r * ldc + v * WIDTH) : bias ? at(bias + v * WIDTH) : Vector{};
    for (int k = 0; k < depth; k++) {
        Vector left[R];
        for (int r = 0; r < R; r++) left[r] = Vector{} + a[r * lda + k];
        for (int v = 0; v < N; v++) {
            const Vector right = at(b + k * ldb + v * WIDTH);
            for (int r = 0; r < R; r++) acc[r][v] += left[r] * right;
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < N; v++) at(c + r * ldc + v * WIDTH) = acc[r][v];
}

template <int N>
void panel(int n, const float *a, int lda, const float *b, int ldb, int depth, float *c, int ldc, const float *bias,
           Into into) {
    for (; n >= ROWS; n -= ROWS, a += ROWS * lda, c += ROWS * ldc)
        tile<ROWS, N>(a, lda, b, ldb, depth, c, ldc, bias, into);
    static_assert(ROWS == 6, "a case for every number of rows left");
    switch (n) {
    case 1: tile<1, N>(a, lda, b, ldb, depth, c, ldc, bias, into); break;
    case 2: tile<2, N>(a, lda, b, ldb, depth, c, ldc, bias, into); break;
    case 3: tile<3, N>(a, lda, b, ldb, depth, c, ldc, bias, into); break;
    case 4: tile<4, N>(a, lda, b, ldb, depth, c, ldc, bias, into); break;
    case 5: tile<5, N>(a, lda, b, ldb, depth, c, ldc, bias, into); break;
    }
}

// c (n, m) = a (n, depth) b (depth, m) + bias; m in whole vectors, given as their number.
void product(int n, int vectors, int depth, const float *a, int lda, const float *b, int ldb, float *c, int ldc,
             const float *bias = nullptr, Into into = Into::Fresh) {
    const int panels = (vectors + TILE - 1) / TILE;
    for (int p = 0, done = 0; p < panels; p++) {
        const int width = (vectors - done + panels - p - 1) / (panels - p);
        const int start = done * WIDTH;
        const float *own_bias = bias ? bias + start : nullptr;
        switch (width) {
        case 1: panel<1>(n, a, lda, b + start, ldb, depth, c + start, ldc, own_bias, into); break;
        case 2: panel<2>(n, a, lda, b + start, ldb, depth, c + start, ldc, own_bias, into); break;
#ifdef __AVX512F__
        case 3: panel<3>(n, a, lda, b + start, ldb, depth, c + start, ldc, own_bias, into); break;
        case 4: panel<4>(n, a, lda, b + start, ldb, depth, c + start, ldc, own_bias, into); break;
#endif
        }
        done += width;
    }
}

// Weights, in the order in which redoxmd.model.fast.potential packs them; all matrices (in, out), ...T their transposes.
struct Layer {
    const float *phi_species;                              // first layer only: (species, 3F)
    const float *phi1, *phi1_bias, *phi2, *phi2_bias;      // later ones: (F, F), (F, 3F)
    const float *phi1T, *phi2T;
    const float *filters;                                  // (K, 2F) scalars and directions first, else (K, 3F)
    const float *mix, *mixT;                               // (F, 2F)
    const float *gate1, *gate1_bias, *gate2, *gate2_bias;  // (2F, F), (F, 3F)
    const float *gate1T, *gate2T;
    // Kept by the forward pass for the backward one.
    Buffer h_phi, phi, mu, x, uv, cat, dot, h_gate, gate;
};

struct Member {
    int features, hidden, species, functions;  // padded widths; functions K is not padded
    float scale;
    std::vector<Layer> layers;
    Buffer weights;
    const float *embedding, *read1, *read1_bias, *read1T, *read2;
    float read2_bias;
    // Work space.
    Buffer s, v, h, act, h_read, gs, gv, g_gate, g_uv, g_cat, g_phi, g_x, pair;
};

void activate(size_t size, const float *h, float *act) {
    for (size_t i = 0; i < size; i += WIDTH) at(act + i) = at(h + i) * sigmoid(at(h + i));
}

// g times the derivative of x·sigmoid(x) at h.
void activate_back(size_t size, const float *h, float *g) {
    for (size_t i = 0; i < size; i += WIDTH) {
        const Vector x = at(h + i), y = sigmoid(x);
        at(g + i) *= y * (1.0f + x * (1.0f - y));
    }
}

struct Pairs {
    int n;
    const int32_t *first, *second;  // atoms a and b
    const float *unit;              // (n, 3) from a to b
    const float *basis, *slope;     // (n, K) R_k and dR_k/dr
};

template <bool FIRST>
void messages(const Member &m, const Layer &l, const Pairs &pairs, const int32_t *row, const float *phi, const float *x,
              float *s, float *v) {
    constexpr int parts = FIRST ? 2 : 3;
    const int F = m.features, K = m.functions, wide = parts * F;
    float *filters = m.pair.get();
    for (int p0 = 0; p0 < pairs.n; p0 += ROWS) {
        const int count = pairs.n - p0 < ROWS ? pairs.n - p0 : ROWS;
        product(count, wide / WIDTH, K, pairs.basis + size_t(p0) * K, K, l.filters, wide, filters, wide);
        for (int p = p0; p < p0 + count; p++) {
            const size_t a = pairs.first[p], b = pairs.second[p];
            const float *w = filters + (p - p0) * wide, *u = pairs.unit + 3 * size_t(p);
            const float *phi_a = phi + 3 * F * size_t(FIRST ? row[a] : a), *phi_b = phi + 3 * F * size_t(FIRST ? row[b] : b);
            const float *x_a = x + 3 * F * a, *x_b = x + 3 * F * b;
            float *s_a = s + F * a, *s_b = s + F * b, *v_a = v + 3 * F * a, *v_b = v + 3 * F * b;
            const float ux = u[0], uy = u[1], uz = u[2];
            for (int f = 0; f < F; f += WIDTH) {
                const Vector ws = at(w + f), wr = at(w + (parts - 1) * F + f);
                const Vector wv = FIRST ? Vector{} : at(w + F + f);
                const Vector along_a = wr * at(phi_b + 2 * F + f), along_b = wr * at(phi_a + 2 * F + f);
                // One atom wholly before the other: a pair of an atom with its own image is both.
                at(s_a + f) += ws * at(phi_b + f);
                if (FIRST) {
                    at(v_a + f) += along_a * ux;
                    at(v_a + F + f) += along_a * uy;
                    at(v_a + 2 * F + f) += along_a * uz;
                } else {
                    at(v_a + f) += along_a * ux + wv * at(x_b + f);
                    at(v_a + F + f) += along_a * uy + wv * at(x_b + F + f);
                    at(v_a + 2 * F + f) += along_a * uz + wv * at(x_b + 2 * F + f);
                }
                at(s_b + f) += ws * at(phi_a + f);
                if (FIRST) {
                    at(v_b + f) -= along_b * ux;
                    at(v_b + F + f) -= along_b * uy;
                    at(v_b + 2 * F + f) -= along_b * uz;
                } else {
                    at(v_b + f) += wv * at(x_a + f) - along_b * ux;
                    at(v_b + F + f) += wv * at(x_a + F + f) - along_b * uy;
                    at(v_b + 2 * F + f) += wv * at(x_a + 2 * F + f) - along_b * uz;
                }
            }
        }
    }
}

// From gradients of the receivers' sums to those of what was sent (SENT), of distances and of directions: out (n, 4).
template <bool FIRST, bool SENT>
void messages_back(const Member &m, const Layer &l, const Pairs &pairs, const int32_t *row, const float *phi,
                   const float *x, const float *gs, const float *gv, float *g_phi, float *g_x, float *out) {
    constexpr int parts = FIRST ? 2 : 3;
    const int F = m.features, K = m.functions, wide = parts * F;
    float *filters = m.pair.get(), *slopes = filters + ROWS * wide;
    for (int p0 = 0; p0 < pairs.n; p0 += ROWS) {
        const int count = pairs.n - p0 < ROWS ? pairs.n - p0 : ROWS;
        product(count, wide / WIDTH, K, pairs.basis + size_t(p0) * K, K, l.filters, wide, filters, wide);
        product(count, wide / WIDTH, K, pairs.slope + size_t(p0) * K, K, l.filters, wide, slopes, wide);
        for (int p = p0; p < p0 + count; p++) {
            const size_t a = pairs.first[p], b = pairs.second[p];
            const float *w = filters + (p - p0) * wide, *d = slopes + (p - p0) * wide, *u = pairs.unit + 3 * size_t(p);
            const float *phi_a = phi + 3 * F * size_t(FIRST ? row[a] : a), *phi_b = phi + 3 * F * size_t(FIRST ? row[b] : b);
            const float *x_a = x + 3 * F * a, *x_b = x + 3 * F * b;
            const float *gs_a = gs + F * a, *gs_b = gs + F * b, *gv_a = gv + 3 * F * a, *gv_b = gv + 3 * F * b;
            float *gp_a = g_phi + 3 * F * a, *gp_b = g_phi + 3 * F * b, *gx_a = g_x + 3 * F * a, *gx_b = g_x + 3 * F * b;
            const float ux = u[0], uy = u[1], uz = u[2];
            Vector radial{}, along_x{}, along_y{}, along_z{};
            for (int f = 0; f < F; f += WIDTH) {
                const Vector ws = at(w + f), wr = at(w + (parts - 1) * F + f);
                const Vector phi_sa = at(phi_a + f), phi_sb = at(phi_b + f);
                const Vector phi_ra = at(phi_a + 2 * F + f), phi_rb = at(phi_b + 2 * F + f);
                const Vector ga = at(gs_a + f), ax = at(gv_a + f), ay = at(gv_a + F + f), az = at(gv_a + 2 * F + f);
                const Vector gb = at(gs_b + f), bx = at(gv_b + f), by = at(gv_b + F + f), bz = at(gv_b + 2 * F + f);
                const Vector toward_a = ax * ux + ay * uy + az * uz, toward_b = bx * ux + by * uy + bz * uz;
                radial += (ga * phi_sb + gb * phi_sa) * at(d + f);
                radial += (toward_a * phi_rb - toward_b * phi_ra) * at(d + (parts - 1) * F + f);
                const Vector qa = wr * phi_rb, qb = wr * phi_ra;
                along_x += qa * ax - qb * bx;
                along_y += qa * ay - qb * by;
                along_z += qa * az - qb * bz;
                if (!FIRST) {
                    const Vector wv = at(w + F + f);
                    const Vector carried = ax * at(x_b + f) + ay * at(x_b + F + f) + az * at(x_b + 2 * F + f) +
                                           bx * at(x_a + f) + by * at(x_a + F + f) + bz * at(x_a + 2 * F + f);
                    radial += carried * at(d + F + f);
                    at(gx_b + f) += wv * ax;
                    at(gx_b + F + f) += wv * ay;
                    at(gx_b + 2 * F + f) += wv * az;
                    at(gx_a + f) += wv * bx;
                    at(gx_a + F + f) += wv * by;
                    at(gx_a + 2 * F + f) += wv * bz;
                }
                if (SENT) {
                    at(gp_b + f) += ws * ga;
                    at(gp_b + 2 * F + f) += wr * toward_a;
                    at(gp_a + f) += ws * gb;
                    at(gp_a + 2 * F + f) -= wr * toward_b;
                }
            }
            float *g = out + 4 * size_t(p);
            g[0] += sum(radial);
            g[1] += sum(along_x);
            g[2] += sum(along_y);
            g[3] += sum(along_z);
        }
    }
}

void interact(Member &m, Layer &l, bool first, int n, const int32_t *species, const Pairs &pairs, float *s, float *v) {
    const int F = m.features;
    const size_t nF = size_t(n) * F;
    if (first) {
        std::memset(v, 0, 3 * nF * sizeof(float));
        messages<true>(m, l, pairs, species, l.phi_species, nullptr, s, v);
        return;
    }
    float *h = l.h_phi.sized(nF), *phi = l.phi.sized(3 * nF), *mu = l.mu.sized(3 * nF), *x = l.x.sized(3 * nF);
    float *act = m.act.sized(size_t(BLOCK) * F);
    for (int begin = 0; begin < n; begin += BLOCK) {
        const int count = n - begin < BLOCK ? n - begin : BLOCK;
        const size_t skip = size_t(begin) * F;
        product(count, F / WIDTH, F, s + skip, F, l.phi1, F, h + skip, F, l.phi1_bias);
        activate(size_t(count) * F, h + skip, act);
        product(count, 3 * F / WIDTH, F, act, F, l.phi2, 3 * F, phi + 3 * skip, 3 * F, l.phi2_bias);
        for (size_t i = begin; i < size_t(begin + count); i++)
            for (int f = 0; f < F; f += WIDTH) {
                const Vector phi_v = at(phi + (3 * i + 1) * F + f);
                for (int c = 0; c < 3; c++) {
                    const size_t here = (3 * i + c) * F + f;
                    at(mu + here) = at(v + here);
                    at(x + here) = phi_v * at(v + here);
                }
            }
    }
    messages<false>(m, l, pairs, species, phi, x, s, v);
}

// dE/dw (n, species) where an atom is a mixture of species with weights w: each starts from its embedding and sends its
// own features in the first interaction.
void species_back(const Member &m, int n, const float *gs, const float *g_phi, float *out) {
    const int F = m.features;
    for (size_t i = 0; i < size_t(n); i++)
        for (int k = 0; k < m.species; k++) {
            const float *start = m.embedding + size_t(k) * F, *sent = m.layers[0].phi_species + size_t(k) * 3 * F;
            Vector total{};
            for (int f = 0; f < F; f += WIDTH) total += at(gs + i * F + f) * at(start + f);
            for (int f = 0; f < 3 * F; f += WIDTH) total += at(g_phi + 3 * i * F + f) * at(sent + f);
            out[i * m.species + k] = sum(total);
        }
}

void interact_back(Member &m, Layer &l, bool first, int n, const int32_t *species, const Pairs &pairs, float *gs,
                   float *gv, float *out, float *by_species) {
    const int F = m.features;
    const size_t nF = size_t(n) * F;
    if (first && !by_species) {
        messages_back<true, false>(m, l, pairs, species, l.phi_species, nullptr, gs, gv, nullptr, nullptr, out);
        return;
    }
    if (first) {
        float *g_sent = m.g_phi.sized(3 * nF);
        std::memset(g_sent, 0, 3 * nF * sizeof(float));
        messages_back<true, true>(m, l, pairs, species, l.phi_species, nullptr, gs, gv, g_sent, nullptr, out);
        species_back(m, n, gs, g_sent, by_species);
        return;
    }
    float *g_phi = m.g_phi.sized(3 * nF), *g_x = m.g_x.sized(3 * nF), *h = m.h.sized(size_t(BLOCK) * F);
    const float *phi = l.phi.get(), *mu = l.mu.get();
    std::memset(g_phi, 0, 3 * nF * sizeof(float));
    std::memset(g_x, 0, 3 * nF * sizeof(float));
    messages_back<false, true>(m, l, pairs, species, phi, l.x.get(), gs, gv, g_phi, g_x, out);
    for (int begin = 0; begin < n; begin += BLOCK) {
        const int count = n - begin < BLOCK ? n - begin : BLOCK;
        const size_t skip = size_t(begin) * F;
        for (size_t i = begin; i < size_t(begin + count); i++)
            for (int f = 0; f < F; f += WIDTH) {
                const Vector phi_v = at(phi + (3 * i + 1) * F + f);
                Vector total{};
                for (int c = 0; c < 3; c++) {
                    const size_t here = (3 * i + c) * F + f;
                    total += at(g_x + here) * at(mu + here);
                    at(gv + here) += at(g_x + here) * phi_v;
                }
                at(g_phi + (3 * i + 1) * F + f) = total;
            }
        product(count, F / WIDTH, 3 * F, g_phi + 3 * skip, 3 * F, l.phi2T, F, h, F);
        activate_back(size_t(count) * F, l.h_phi.get() + skip, h);
        product(count, F / WIDTH, F, h, F, l.phi1T, F, gs + skip, F, nullptr, Into::Added);
    }
}

void update(Member &m, Layer &l, bool last, int total, float *all_s, float *all_v) {
    const int F = m.features, gates = last ? 2 : 3;
    const size_t all = size_t(total) * F;
    l.uv.sized(6 * all), l.cat.sized(2 * all), l.dot.sized(all), l.h_gate.sized(all), l.gate.sized(3 * all);
    float *act = m.act.sized(size_t(BLOCK) * F);
    for (int begin = 0; begin < total; begin += BLOCK) {
        const int n = total - begin < BLOCK ? total - begin : BLOCK;
        const size_t skip = size_t(begin) * F, nF = size_t(n) * F;
        float *s = all_s + skip, *v = all_v + 3 * skip, *uv = l.uv.get() + 6 * skip, *cat = l.cat.get() + 2 * skip;
        float *dot = l.dot.get() + skip, *h = l.h_gate.get() + skip, *gate = l.gate.get() + 3 * skip;
        product(3 * n, 2 * F / WIDTH, F, v, F, l.mix, 2 * F, uv, 2 * F);
        for (size_t i = 0; i < size_t(n); i++)
            for (int f = 0; f < F; f += WIDTH) {
                Vector squared = Vector{} + 1e-8f, scalar{};
                for (int c = 0; c < 3; c++) {
                    const Vector u = at(uv + (3 * i + c) * 2 * F + f), w = at(uv + (3 * i + c) * 2 * F + F + f);
                    squared += w * w;
                    scalar += u * w;
                }
                at(cat + 2 * i * F + f) = at(s + i * F + f);
                at(cat + (2 * i + 1) * F + f) = root(squared);
                at(dot + i * F + f) = scalar;
            }
        product(n, F / WIDTH, 2 * F, cat, 2 * F, l.gate1, F, h, F, l.gate1_bias);
        activate(nF, h, act);
        product(n, gates * F / WIDTH, F, act, F, l.gate2, 3 * F, gate, 3 * F, l.gate2_bias);
        for (size_t i = 0; i < size_t(n); i++)
            for (int f = 0; f < F; f += WIDTH) {
                const float *g = gate + 3 * i * F + f;
                at(s + i * F + f) += at(g) + at(g + F) * at(dot + i * F + f);
                if (last) continue;
                for (int c = 0; c < 3; c++)
                    at(v + (3 * i + c) * F + f) += at(g + 2 * F) * at(uv + (3 * i + c) * 2 * F + f);
            }
    }
}

// gs, gv: gradients of the updated states, turned into those of the states before; gv of the last layer is nothing yet.
void update_back(Member &m, Layer &l, bool last, int total, float *all_gs, float *all_gv) {
    const int F = m.features, gates = last ? 2 : 3;
    const size_t most = size_t(BLOCK) * F;
    float *g_gate = m.g_gate.sized(3 * most), *g_uv = m.g_uv.sized(6 * most), *g_cat = m.g_cat.sized(2 * most);
    float *h = m.h.sized(most);
    for (int begin = 0; begin < total; begin += BLOCK) {
        const int n = total - begin < BLOCK ? total - begin : BLOCK;
        const size_t skip = size_t(begin) * F, nF = size_t(n) * F;
        const float *uv = l.uv.get() + 6 * skip, *cat = l.cat.get() + 2 * skip, *dot = l.dot.get() + skip;
        const float *gate = l.gate.get() + 3 * skip;
        float *gs = all_gs + skip, *gv = all_gv + 3 * skip;
        for (size_t i = 0; i < size_t(n); i++)
            for (int f = 0; f < F; f += WIDTH) {
                const Vector g = at(gs + i * F + f);
                at(g_gate + 3 * i * F + f) = g;
                at(g_gate + (3 * i + 1) * F + f) = g * at(dot + i * F + f);
                if (last) continue;
                Vector total_g{};
                for (int c = 0; c < 3; c++) total_g += at(gv + (3 * i + c) * F + f) * at(uv + (3 * i + c) * 2 * F + f);
                at(g_gate + (3 * i + 2) * F + f) = total_g;
            }
        product(n, F / WIDTH, gates * F, g_gate, 3 * F, l.gate2T, F, h, F);
        activate_back(nF, l.h_gate.get() + skip, h);
        product(n, 2 * F / WIDTH, F, h, F, l.gate1T, 2 * F, g_cat, 2 * F);
        for (size_t i = 0; i < size_t(n); i++)
            for (int f = 0; f < F; f += WIDTH) {
                const Vector g_dot = at(gs + i * F + f) * at(gate + (3 * i + 1) * F + f);
                const Vector g_norm = at(g_cat + (2 * i + 1) * F + f) / at(cat + (2 * i + 1) * F + f);
                const Vector a_vv = last ? Vector{} : at(gate + (3 * i + 2) * F + f);
                for (int c = 0; c < 3; c++) {
                    const size_t here = (3 * i + c) * 2 * F + f;
                    const Vector u = at(uv + here), w = at(uv + here + F);
                    at(g_uv + here) = g_dot * w + (last ? Vector{} : a_vv * at(gv + (3 * i + c) * F + f));
                    at(g_uv + here + F) = g_dot * u + g_norm * w;
                }
                at(gs + i * F + f) += at(g_cat + 2 * i * F + f);
            }
        product(3 * n, F / WIDTH, 2 * F, g_uv, 2 * F, l.mixT, F, gv, F, nullptr, last ? Into::Fresh : Into::Added);
    }
}

double read_out(Member &m, int n, const float *s, float *gs) {
    const int F = m.features, H = m.hidden;
    const size_t nH = size_t(n) * H;
    float *h = m.h_read.sized(nH), *act = m.act.sized(nH > size_t(n) * F ? nH : size_t(n) * F);
    product(n, H / WIDTH, F, s, F, m.read1, H, h, H, m.read1_bias);
    activate(nH, h, act);
    double energy = 0;
    for (size_t i = 0; i < size_t(n); i++) {
        Vector total{};
        for (int f = 0; f < H; f += WIDTH) {
            total += at(act + i * H + f) * at(m.read2 + f);
            at(act + i * H + f) = m.scale * at(m.read2 + f);
        }
        energy += m.scale * (sum(total) + m.read2_bias);
    }
    activate_back(nH, h, act);
    product(n, F / WIDTH, H, act, H, m.read1T, F, gs, F);
    return energy;
}

class Cursor {
  public:
    explicit Cursor(const float *data) : data_(data) {}
    const float *take(size_t size) {
        const float *here = data_ + taken_;
        taken_ += size;
        return here;
    }
    size_t taken() const { return taken_; }

  private:
    const float *data_;
    size_t taken_ = 0;
};

}  // namespace

// The polynomial envelope and its slope (redoxmd.model.radial), within the cutoff.
inline double envelope(double r, double cutoff, double &slope) {
    const double x = r / cutoff, x2 = x * x, x5 = x2 * x2 * x;
    slope = x5 * (-168.0 + x * (336.0 - 168.0 * x)) / cutoff;
    return 1.0 + x5 * x * (-28.0 + x * (48.0 - 21.0 * x));
}

extern "C" {

int redoxmd_vector_width() { return WIDTH; }

// A network from its packed weights; null when they are not as many as the sizes ask for.
void *redoxmd_member(int features, int hidden, int layers, int functions, int species, float scale, float read2_bias,
                     const float *packed, size_t size) try {
    Member *m = new Member();
    m->features = features;
    m->hidden = hidden;
    m->species = species;
    m->functions = functions;
    m->scale = scale;
    m->read2_bias = read2_bias;
    float *own = m->weights.sized(size);
    std::memcpy(own, packed, size * sizeof(float));
    Cursor cursor(own);
    const size_t F = features, H = hidden, K = functions;
    m->embedding = cursor.take(species * F);
    for (int i = 0; i < layers; i++) {
        Layer l{};
        if (i == 0) {
            l.phi_species = cursor.take(species * 3 * F);
            l.filters = cursor.take(K * 2 * F);
        } else {
            l.phi1 = cursor.take(F * F);
            l.phi1_bias = cursor.take(F);
            l.phi2 = cursor.take(F * 3 * F);
            l.phi2_bias = cursor.take(3 * F);
            l.phi1T = cursor.take(F * F);
            l.phi2T = cursor.take(3 * F * F);
            l.filters = cursor.take(K * 3 * F);
        }
        l.mix = cursor.take(F * 2 * F);
        l.mixT = cursor.take(2 * F * F);
        l.gate1 = cursor.take(2 * F * F);
        l.gate1_bias = cursor.take(F);
        l.gate2 = cursor.take(F * 3 * F);
        l.gate2_bias = cursor.take(3 * F);
        l.gate1T = cursor.take(F * 2 * F);
        l.gate2T = cursor.take(3 * F * F);
        m->layers.push_back(std::move(l));
    }
    m->read1 = cursor.take(F * H);
    m->read1_bias = cursor.take(H);
    m->read1T = cursor.take(H * F);
    m->read2 = cursor.take(H);
    m->pair.sized(size_t(ROWS) * 2 * 3 * F);
    if (cursor.taken() != size) {
        delete m;
        return nullptr;
    }
    return m;
} catch (const std::bad_alloc &) {
    return nullptr;
}

void redoxmd_member_free(void *member) { delete static_cast<Member *>(member); }

// Interaction energy; gradients (pairs, 4): dE/dr and dE/d(direction) of every pair, null for the energy alone;
// by_species (n, species): dE/d(weights of the species) of every atom, if not null. False for want of memory.
bool redoxmd_evaluate(void *member, int n, const int32_t *species, int n_pairs, const int32_t *first,
                      const int32_t *second, const float *unit, const float *basis, const float *slope, double *energy,
                      float *gradients, float *by_species) try {
    Member &m = *static_cast<Member *>(member);
    const int F = m.features, last = int(m.layers.size()) - 1;
    const size_t nF = size_t(n) * F;
    const Pairs pairs{n_pairs, first, second, unit, basis, slope};
    float *s = m.s.sized(nF), *v = m.v.sized(3 * nF), *gs = m.gs.sized(nF), *gv = m.gv.sized(3 * nF);
    for (size_t i = 0; i < size_t(n); i++)
        std::memcpy(s + i * F, m.embedding + size_t(species[i]) * F, F * sizeof(float));
    for (int i = 0; i <= last; i++) {
        interact(m, m.layers[i], i == 0, n, species, pairs, s, v);
        update(m, m.layers[i], i == last, n, s, v);
    }
    *energy = read_out(m, n, s, gs);
    if (!gradients) return true;
    std::memset(gradients, 0, size_t(n_pairs) * 4 * sizeof(float));
    for (int i = last; i >= 0; i--) {
        update_back(m, m.layers[i], i == last, n, gs, gv);
        interact_back(m, m.layers[i], i == 0, n, species, pairs, gs, gv, gradients, by_species);
    }
    return true;
} catch (const std::bad_alloc &) {
    return false;
}

// Pairs within the cutoff out of a Verlet list, with their bases (redoxmd.model.radial); returns their number.
//
// offset (candidates, 3) are the lattice vectors of the images; vectors (…, 3) and distances are of the pairs kept.
int redoxmd_geometry(int candidates, const int32_t *a, const int32_t *b, const double *offset, const double *positions,
                     double cutoff, int functions, int32_t *first, int32_t *second, double *vectors, double *distances,
                     float *unit, float *basis, float *slope) {
    int kept = 0;
    const double step = M_PI / cutoff, norm = std::sqrt(2.0 / cutoff);
    for (int p = 0; p < candidates; p++) {
        double d[3], squared = 0;
        for (int c = 0; c < 3; c++) {
            d[c] = positions[3 * size_t(b[p]) + c] - positions[3 * size_t(a[p]) + c] + offset[3 * size_t(p) + c];
            squared += d[c] * d[c];
        }
        // What is not a number stays, so that it is seen.
        if (squared >= cutoff * cutoff) continue;
        const double r = std::sqrt(squared);
        double du;
        const double u = envelope(r, cutoff, du);
        first[kept] = a[p];
        second[kept] = b[p];
        distances[kept] = r;
        float *value = basis + size_t(kept) * functions, *change = slope + size_t(kept) * functions;
        value[0] = float(u);
        change[0] = float(du);
        const double sine1 = std::sin(step * r), cosine1 = std::cos(step * r);
        double sine = sine1, cosine = cosine1;
        for (int k = 1; k < functions; k++) {
            value[k] = float(norm * u * sine / r);
            change[k] = float(norm * (du * sine + u * (k * step * cosine - sine / r)) / r);
            const double next = sine * cosine1 + cosine * sine1;
            cosine = cosine * cosine1 - sine * sine1;
            sine = next;
        }
        for (int c = 0; c < 3; c++) {
            vectors[3 * size_t(kept) + c] = d[c];
            unit[3 * size_t(kept) + c] = float(d[c] / r);
        }
        kept++;
    }
    return kept;
}

// Forces (n, 3) and virial (9) from the gradients of pairs: F_a = +dE/d(vector), F_b = -dE/d(vector).
void redoxmd_forces(int n, int n_pairs, const int32_t *first, const int32_t *second, const double *vectors,
                    const double *distances, const float *gradients, double *forces, double *virial) {
    std::memset(forces, 0, size_t(n) * 3 * sizeof(double));
    std::memset(virial, 0, 9 * sizeof(double));
    for (size_t p = 0; p < size_t(n_pairs); p++) {
        const double r = distances[p], *d = vectors + 3 * p;
        const float *g = gradients + 4 * p;
        double inward = 0;
        for (int c = 0; c < 3; c++) inward += g[1 + c] * d[c] / r;
        for (int c = 0; c < 3; c++) {
            const double unit = d[c] / r, pull = g[0] * unit + (g[1 + c] - inward * unit) / r;
            forces[3 * size_t(first[p]) + c] += pull;
            forces[3 * size_t(second[p]) + c] -= pull;
            for (int e = 0; e < 3; e++) virial[3 * e + c] += d[e] * pull;
        }
    }
}

// Energy, forces (n, 3) and virial (9) of the core repulsion (redoxmd.model.repulsion); most pairs are not that close.
//
// charge, shrinking, reach (n): Z, Z^0.23 over the screening length, half of the distance where it ends; by atom.
double redoxmd_repulsion(int n, int n_pairs, const int32_t *first, const int32_t *second, const double *vectors,
                         const double *distances, const double *charge, const double *shrinking, const double *reach,
                         double coulomb, int terms, const double *weights, const double *rates, double *forces,
                         double *virial) {
    std::memset(forces, 0, size_t(n) * 3 * sizeof(double));
    std::memset(virial, 0, 9 * sizeof(double));
    double energy = 0;
    for (size_t p = 0; p < size_t(n_pairs); p++) {
        const size_t a = first[p], b = second[p];
        const double r = distances[p], end = reach[a] + reach[b], shrink = shrinking[a] + shrinking[b];
        if (r >= end) continue;
        double du, screening = 0, change = 0;
        const double u = envelope(r, end, du);
        for (int k = 0; k < terms; k++) {
            const double term = weights[k] * std::exp(-rates[k] * shrink * r);
            screening += term;
            change -= rates[k] * shrink * term;
        }
        const double bare = coulomb * charge[a] * charge[b] / r;
        energy += bare * screening * u;
        const double slope = bare * (change * u + screening * (du - u / r));
        for (int c = 0; c < 3; c++) {
            const double pull = slope * vectors[3 * p + c] / r;
            forces[3 * a + c] += pull;
            forces[3 * b + c] -= pull;
            for (int e = 0; e < 3; e++) virial[3 * e + c] += vectors[3 * p + e] * pull;
        }
    }
    return energy;
}
}
