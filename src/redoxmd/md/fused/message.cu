// A message of the network (`redoxmd.model.representation.Interaction`) and its derivatives, for all members of one width
// at once: one block per member and atom, one thread per feature. Compiled for one width: -DFEATURES=F -DRADIAL=K, on a
// host also -DREAL=double.
//
// Pairs are those of `redoxmd.md.batched.pairs.PairRows`: row i lists the senders j of receiver i. `rays` holds direction
// and distance (x, y, z, r) of each pair, `basis` R_k(r) and `slope` R_k'(r). A filter is linear in the basis; its
// weights are read once and stay in registers. Pairs beyond the cutoff, where basis and slope are zero, are skipped by
// the whole block. Every sum runs in a fixed order: there are no atomic operations.
#ifndef REAL
#define REAL float
#endif

constexpr int F = FEATURES, K = RADIAL, QUADS = (K + 3) / 4, WARPS = (F + 31) / 32, THREADS = 32 * WARPS, TILE = 32;
// Blocks that share a multiprocessor: 512 threads leave each 128 registers, in which the filters of a feature fit.
constexpr int BLOCKS = 512 / THREADS;

struct alignas(4 * sizeof(REAL)) Real4 {
  REAL x, y, z, w;
};

// Weights of the filters of one feature, padded to whole quads.
struct Filter {
  REAL weight[4 * QUADS];

  __device__ void load(const REAL* filters, int column, bool live) {
#pragma unroll
    for (int k = 0; k < 4 * QUADS; ++k) weight[k] = live && k < K ? filters[k * 3 * F + column] : REAL(0);
  }
};

__device__ __forceinline__ REAL dot(const Real4& a, const REAL* b, REAL sum) {
  return sum + a.x * b[0] + a.y * b[1] + a.z * b[2] + a.w * b[3];
}

// Functions of pairs (count, K) into shared memory (count, 4 * QUADS), padded with zeros.
__device__ __forceinline__ void load_functions(Real4* tile, const REAL* functions, int count) {
  REAL* values = reinterpret_cast<REAL*>(tile);
  for (int n = threadIdx.x; n < count * 4 * QUADS; n += THREADS) {
    const int pair = n / (4 * QUADS), k = n % (4 * QUADS);
    values[n] = k < K ? functions[pair * K + k] : REAL(0);
  }
}

// Sums over a warp: lane l returns that of component l / 8.
__device__ __forceinline__ REAL warp_sum(const Real4& t) {
  const bool upper = threadIdx.x & 16, odd = threadIdx.x & 8;
  REAL a = upper ? t.z : t.x, b = upper ? t.w : t.y;
  a += __shfl_xor_sync(~0u, upper ? t.x : t.z, 16);
  b += __shfl_xor_sync(~0u, upper ? t.y : t.w, 16);
  REAL sum = odd ? b : a;
  sum += __shfl_xor_sync(~0u, odd ? a : b, 8);
  sum += __shfl_xor_sync(~0u, sum, 4);
  sum += __shfl_xor_sync(~0u, sum, 2);
  return sum + __shfl_xor_sync(~0u, sum, 1);
}

// Scalars, in the first half of `both` (m, n, 2F), and vectors (m, n, 3, F) of the atoms after a message, from scalars
// (m, n, F), what the atoms send, (m, n, 3F) plus a bias (m, 3F), vectors (m, n, 3, F) and filters (m, K, 3F). In the
// FIRST layer scalars (m, S, F) and what is sent (m, S, 3F) are tables by species, and vectors are zero and not read.
template <bool FIRST>
__device__ __forceinline__ void message(const long long* __restrict__ sender, const long long* __restrict__ species,
                                        const Real4* __restrict__ rays, const REAL* __restrict__ basis,
                                        const REAL* __restrict__ scalars, const REAL* __restrict__ sent,
                                        const REAL* __restrict__ bias, const REAL* __restrict__ vectors,
                                        const REAL* __restrict__ filters, REAL* __restrict__ both,
                                        REAL* __restrict__ new_vectors, int atoms, int kinds, int columns,
                                        REAL cutoff) {
  __shared__ Real4 tile_basis[TILE * QUADS];
  __shared__ Real4 tile_rays[TILE];
  __shared__ int tile_sender[TILE];
  const int f = threadIdx.x;
  const bool live = f < F;
  const size_t member = blockIdx.x / atoms, atom = blockIdx.x % atoms, row = atom * columns;
  const size_t first = member * (FIRST ? kinds : atoms);
  scalars += first * F;
  sent += first * 3 * F;
  vectors += first * 3 * F;
  filters += member * K * 3 * F;
  Filter w_s, w_v, w_r;
  w_s.load(filters, f, live);
  if (!FIRST) w_v.load(filters, F + f, live);
  w_r.load(filters, 2 * F + f, live);
  REAL bias_s = 0, bias_v = 0, bias_r = 0;
  if (!FIRST && live) {
    bias_s = bias[member * 3 * F + f];
    bias_v = bias[member * 3 * F + F + f];
    bias_r = bias[member * 3 * F + 2 * F + f];
  }
  REAL s = 0, x = 0, y = 0, z = 0;
  for (int start = 0; start < columns; start += TILE) {
    const int count = columns - start < TILE ? columns - start : TILE;
    __syncthreads();
    load_functions(tile_basis, basis + (row + start) * K, count);
    for (int j = f; j < count; j += THREADS) {
      tile_rays[j] = rays[row + start + j];
      const long long from = sender[row + start + j];
      tile_sender[j] = int(FIRST ? species[from] : from);
    }
    __syncthreads();
    if (!live) continue;
    for (int j = 0; j < count; ++j) {
      const Real4 ray = tile_rays[j];
      if (ray.w >= cutoff) continue;
      const unsigned from = 3u * F * tile_sender[j] + f;
      REAL filter_s = 0, filter_v = 0, filter_r = 0;
#pragma unroll
      for (int q = 0; q < QUADS; ++q) {
        const Real4 b = tile_basis[j * QUADS + q];
        filter_s = dot(b, w_s.weight + 4 * q, filter_s);
        if (!FIRST) filter_v = dot(b, w_v.weight + 4 * q, filter_v);
        filter_r = dot(b, w_r.weight + 4 * q, filter_r);
      }
      s += filter_s * (sent[from] + bias_s);
      const REAL along = filter_r * (sent[from + 2 * F] + bias_r);
      x += along * ray.x;
      y += along * ray.y;
      z += along * ray.z;
      if (!FIRST) {
        const REAL carried = filter_v * (sent[from + F] + bias_v);
        x += carried * vectors[from];
        y += carried * vectors[from + F];
        z += carried * vectors[from + 2 * F];
      }
    }
  }
  if (!live) return;
  both[(member * atoms + atom) * 2 * F + f] = scalars[(FIRST ? species[atom] : atom) * F + f] + s;
  const size_t own = atom * 3 * F + f;
  REAL* out = new_vectors + (member * atoms) * 3 * F + own;
  out[0] = FIRST ? x : vectors[own] + x;
  out[F] = FIRST ? y : vectors[own + F] + y;
  out[2 * F] = FIRST ? z : vectors[own + 2 * F] + z;
}

// Derivatives of an energy from its derivatives by_s (m, n, F) and by_v (m, n, 3, F) by the results of a message: by what
// the atoms send (m, n, 3F), by their vectors (m, n, 3, F; not in the FIRST layer), and by direction and distance of the
// pairs (m, n, J, 4), which are added to what by_rays holds for the first `begun` members. The block of atom a takes the
// pairs in which a is the sender: they are the opposite ones of row a, with the same r, and directions reversed. Each
// entry of by_rays is written once, because `reverse` is a permutation.
template <bool FIRST>
__device__ __forceinline__ void derivatives(
    const long long* __restrict__ sender, const long long* __restrict__ species, const long long* __restrict__ reverse,
    const Real4* __restrict__ rays, const REAL* __restrict__ basis, const REAL* __restrict__ slope,
    const REAL* __restrict__ sent, const REAL* __restrict__ bias, const REAL* __restrict__ vectors,
    const REAL* __restrict__ filters, const REAL* __restrict__ by_s, const REAL* __restrict__ by_v,
    REAL* __restrict__ by_sent, REAL* __restrict__ by_vectors, Real4* __restrict__ by_rays, int atoms, int kinds,
    int columns, int begun, REAL cutoff) {
  __shared__ Real4 tile_basis[TILE * QUADS];
  __shared__ Real4 tile_slope[TILE * QUADS];
  __shared__ Real4 tile_rays[TILE];
  __shared__ int tile_sender[TILE];
  __shared__ REAL tile_sums[TILE * WARPS * 4];
  const int f = threadIdx.x;
  const bool live = f < F;
  const size_t member = blockIdx.x / atoms, atom = blockIdx.x % atoms, row = atom * columns, own = atom * 3 * F + f;
  const bool adds = int(member) < begun;
  const size_t skipped = member * atoms * 3 * F;
  vectors += skipped;
  by_v += skipped;
  by_sent += skipped;
  by_vectors += skipped;
  by_s += member * atoms * F;
  by_rays += member * atoms * columns;
  filters += member * K * 3 * F;
  Filter w_s, w_v, w_r;
  w_s.load(filters, f, live);
  if (!FIRST) w_v.load(filters, F + f, live);
  w_r.load(filters, 2 * F + f, live);
  const REAL* own_sent = sent + (FIRST ? member * kinds + species[atom] : member * atoms + atom) * 3 * F + f;
  REAL sent_s = live ? own_sent[0] : REAL(0), sent_r = live ? own_sent[2 * F] : REAL(0);
  REAL sent_v = 0, mu_x = 0, mu_y = 0, mu_z = 0;
  if (!FIRST && live) {
    sent_s += bias[member * 3 * F + f];
    sent_v = own_sent[F] + bias[member * 3 * F + F + f];
    sent_r += bias[member * 3 * F + 2 * F + f];
    mu_x = vectors[own];
    mu_y = vectors[own + F];
    mu_z = vectors[own + 2 * F];
  }
  REAL sum_s = 0, sum_v = 0, sum_r = 0, sum_x = 0, sum_y = 0, sum_z = 0;
  for (int start = 0; start < columns; start += TILE) {
    const int count = columns - start < TILE ? columns - start : TILE;
    __syncthreads();
    load_functions(tile_basis, basis + (row + start) * K, count);
    load_functions(tile_slope, slope + (row + start) * K, count);
    for (int j = f; j < count; j += THREADS) {
      tile_rays[j] = rays[row + start + j];
      tile_sender[j] = int(sender[row + start + j]);
    }
    __syncthreads();
    for (int j = 0; j < count; ++j) {
      const Real4 ray = tile_rays[j];
      if (ray.w >= cutoff) continue;
      const unsigned receiver = tile_sender[j] * F;
      REAL g_s = 0, g_x = 0, g_y = 0, g_z = 0;
      if (live) {
        g_s = by_s[receiver + f];
        g_x = by_v[3 * receiver + f];
        g_y = by_v[3 * receiver + F + f];
        g_z = by_v[3 * receiver + 2 * F + f];
      }
      REAL filter_s = 0, filter_v = 0, filter_r = 0, slope_s = 0, slope_v = 0, slope_r = 0;
#pragma unroll
      for (int q = 0; q < QUADS; ++q) {
        const Real4 b = tile_basis[j * QUADS + q], c = tile_slope[j * QUADS + q];
        filter_s = dot(b, w_s.weight + 4 * q, filter_s);
        slope_s = dot(c, w_s.weight + 4 * q, slope_s);
        if (!FIRST) {
          filter_v = dot(b, w_v.weight + 4 * q, filter_v);
          slope_v = dot(c, w_v.weight + 4 * q, slope_v);
        }
        filter_r = dot(b, w_r.weight + 4 * q, filter_r);
        slope_r = dot(c, w_r.weight + 4 * q, slope_r);
      }
      const REAL g_ray = -(ray.x * g_x + ray.y * g_y + ray.z * g_z);
      const REAL g_mu = mu_x * g_x + mu_y * g_y + mu_z * g_z;
      sum_s += filter_s * g_s;
      sum_r += filter_r * g_ray;
      if (!FIRST) {
        sum_v += filter_v * g_mu;
        const REAL carried = filter_v * sent_v;
        sum_x += carried * g_x;
        sum_y += carried * g_y;
        sum_z += carried * g_z;
      }
      const REAL along = filter_r * sent_r;
      const REAL by_r = slope_s * sent_s * g_s + slope_v * sent_v * g_mu + slope_r * sent_r * g_ray;
      const REAL total = warp_sum({along * g_x, along * g_y, along * g_z, by_r});
      if (f % 8 == 0) tile_sums[j * WARPS * 4 + f / 8] = total;
    }
    __syncthreads();
    for (int j = f; j < count; j += THREADS) {
      Real4 sum = {0, 0, 0, 0};
      if (!(tile_rays[j].w >= cutoff)) {
        for (int warp = 0; warp < WARPS; ++warp) {
          const REAL* of_warp = tile_sums + (j * WARPS + warp) * 4;
          sum.x += of_warp[0];
          sum.y += of_warp[1];
          sum.z += of_warp[2];
          sum.w += of_warp[3];
        }
      }
      Real4& entry = by_rays[reverse[row + start + j]];
      if (adds) {
        const Real4 before = entry;
        sum = {before.x + sum.x, before.y + sum.y, before.z + sum.z, before.w + sum.w};
      }
      entry = sum;
    }
  }
  if (!live) return;
  by_sent[own] = sum_s;
  by_sent[own + F] = sum_v;
  by_sent[own + 2 * F] = sum_r;
  if (!FIRST) {
    by_vectors[own] = by_v[own] + sum_x;
    by_vectors[own + F] = by_v[own + F] + sum_y;
    by_vectors[own + 2 * F] = by_v[own + 2 * F] + sum_z;
  }
}

#define MESSAGE(NAME, FIRST)                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
      NAME(const long long* sender, const long long* species, const Real4* rays, const REAL* basis,                   \
           const REAL* scalars, const REAL* sent, const REAL* bias, const REAL* vectors, const REAL* filters,         \
           REAL* both, REAL* new_vectors, int atoms, int kinds, int columns, double cutoff) {                         \
    message<FIRST>(sender, species, rays, basis, scalars, sent, bias, vectors, filters, both, new_vectors, atoms,     \
                   kinds, columns, REAL(cutoff));                                                                     \
  }
#define DERIVATIVES(NAME, FIRST)                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                       \
      NAME(const long long* sender, const long long* species, const long long* reverse, const Real4* rays,            \
           const REAL* basis, const REAL* slope, const REAL* sent, const REAL* bias, const REAL* vectors,             \
           const REAL* filters, const REAL* by_s, const REAL* by_v, REAL* by_sent, REAL* by_vectors, Real4* by_rays,  \
           int atoms, int kinds, int columns, int begun, double cutoff) {                                             \
    derivatives<FIRST>(sender, species, reverse, rays, basis, slope, sent, bias, vectors, filters, by_s, by_v,        \
                       by_sent, by_vectors, by_rays, atoms, kinds, columns, begun, REAL(cutoff));                     \
  }

MESSAGE(first_message, true)
MESSAGE(later_message, false)
DERIVATIVES(first_derivatives, true)
DERIVATIVES(later_derivatives, false)
