// A message of the network (`redoxmd.model.representation.Interaction`) and its derivatives, one block per atom and one
// thread per feature. Compiled for one width: -DFEATURES=F -DRADIAL=K, on a host also -DREAL=double.
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

// Changes of scalars (n, F) and vectors (n, 3, F) from what the atoms send (n, 3F) and their vectors (n, 3, F). In the
// FIRST layer the vectors are zero and are not read.
template <bool FIRST>
__device__ __forceinline__ void message(const long long* __restrict__ sender, const Real4* __restrict__ rays,
                                        const REAL* __restrict__ basis, const REAL* __restrict__ sent,
                                        const REAL* __restrict__ vectors, const REAL* __restrict__ filters,
                                        REAL* __restrict__ delta_s, REAL* __restrict__ delta_v, int columns,
                                        REAL cutoff) {
  __shared__ Real4 tile_basis[TILE * QUADS];
  __shared__ Real4 tile_rays[TILE];
  __shared__ int tile_sender[TILE];
  const int f = threadIdx.x;
  const bool live = f < F;
  const size_t atom = blockIdx.x, row = atom * columns;
  Filter w_s, w_v, w_r;
  w_s.load(filters, f, live);
  if (!FIRST) w_v.load(filters, F + f, live);
  w_r.load(filters, 2 * F + f, live);
  REAL s = 0, x = 0, y = 0, z = 0;
  for (int start = 0; start < columns; start += TILE) {
    const int count = columns - start < TILE ? columns - start : TILE;
    __syncthreads();
    load_functions(tile_basis, basis + (row + start) * K, count);
    for (int j = f; j < count; j += THREADS) {
      tile_rays[j] = rays[row + start + j];
      tile_sender[j] = int(sender[row + start + j]);
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
      s += filter_s * sent[from];
      const REAL along = filter_r * sent[from + 2 * F];
      x += along * ray.x;
      y += along * ray.y;
      z += along * ray.z;
      if (!FIRST) {
        const REAL carried = filter_v * sent[from + F];
        x += carried * vectors[from];
        y += carried * vectors[from + F];
        z += carried * vectors[from + 2 * F];
      }
    }
  }
  if (!live) return;
  delta_s[atom * F + f] = s;
  REAL* out = delta_v + atom * 3 * F + f;
  out[0] = x;
  out[F] = y;
  out[2 * F] = z;
}

// Derivatives of an energy from its derivatives by_s (n, F) and by_v (n, 3, F) of the changes: of what the atoms send
// (not if by_sent is null), of their vectors, and of direction and distance of the pairs. The block of atom a takes the
// pairs in which a is the sender: they are the opposite ones of row a, with the same r, and directions reversed. Each
// entry of by_rays is written once, because `reverse` is a permutation.
template <bool FIRST>
__device__ __forceinline__ void derivatives(
    const long long* __restrict__ sender, const long long* __restrict__ reverse, const Real4* __restrict__ rays,
    const REAL* __restrict__ basis, const REAL* __restrict__ slope, const REAL* __restrict__ sent,
    const REAL* __restrict__ vectors, const REAL* __restrict__ filters, const REAL* __restrict__ by_s,
    const REAL* __restrict__ by_v, REAL* __restrict__ by_sent, REAL* __restrict__ by_vectors,
    Real4* __restrict__ by_rays, int columns, REAL cutoff) {
  __shared__ Real4 tile_basis[TILE * QUADS];
  __shared__ Real4 tile_slope[TILE * QUADS];
  __shared__ Real4 tile_rays[TILE];
  __shared__ int tile_sender[TILE];
  __shared__ REAL tile_sums[TILE * WARPS * 4];
  const int f = threadIdx.x;
  const bool live = f < F;
  const size_t atom = blockIdx.x, row = atom * columns, own = atom * 3 * F + f;
  Filter w_s, w_v, w_r;
  w_s.load(filters, f, live);
  if (!FIRST) w_v.load(filters, F + f, live);
  w_r.load(filters, 2 * F + f, live);
  const REAL sent_s = live ? sent[own] : REAL(0), sent_r = live ? sent[own + 2 * F] : REAL(0);
  REAL sent_v = 0, mu_x = 0, mu_y = 0, mu_z = 0;
  if (!FIRST && live) {
    sent_v = sent[own + F];
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
      by_rays[reverse[row + start + j]] = sum;
    }
  }
  if (!live) return;
  if (by_sent) {
    by_sent[own] = sum_s;
    by_sent[own + F] = sum_v;
    by_sent[own + 2 * F] = sum_r;
  }
  if (!FIRST) {
    by_vectors[own] = sum_x;
    by_vectors[own + F] = sum_y;
    by_vectors[own + 2 * F] = sum_z;
  }
}

#define MESSAGE(NAME, FIRST)                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                             \
      NAME(const long long* sender, const Real4* rays, const REAL* basis, const REAL* sent, const REAL* vectors,      \
           const REAL* filters, REAL* delta_s, REAL* delta_v, int columns, REAL cutoff) {                             \
    message<FIRST>(sender, rays, basis, sent, vectors, filters, delta_s, delta_v, columns, cutoff);                   \
  }
#define DERIVATIVES(NAME, FIRST)                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                             \
      NAME(const long long* sender, const long long* reverse, const Real4* rays, const REAL* basis,                   \
           const REAL* slope, const REAL* sent, const REAL* vectors, const REAL* filters, const REAL* by_s,           \
           const REAL* by_v, REAL* by_sent, REAL* by_vectors, Real4* by_rays, int columns, REAL cutoff) {             \
    derivatives<FIRST>(sender, reverse, rays, basis, slope, sent, vectors, filters, by_s, by_v, by_sent, by_vectors,  \
                       by_rays, columns, cutoff);                                                                     \
  }

MESSAGE(first_message, true)
MESSAGE(later_message, false)
DERIVATIVES(first_derivatives, true)
DERIVATIVES(later_derivatives, false)
