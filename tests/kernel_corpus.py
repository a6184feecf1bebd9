"""Kernels of real use, in the language's canonical text: what must be taken, compiled and right.

In:   `CORPUS`, name → text; `ELEMENT` and `BLOCKS` are its two halves by form.
Why canonical: what the decorator makes of them is the same text again.
"""

from __future__ import annotations

from typing import Final

ELEMENT: Final[dict[str, str]] = {
    "saxpy": '''@kernel
def saxpy(i, a: f32, x: In[f32], y: In[f32], out: Out[f32]):
    """BLAS level 1."""
    out[i] = a * x[i] + y[i]
''',
    "mandelbrot": """LIMIT = 200


@device
def escape(cr, ci):
    zr = cr
    zi = ci
    for n in range(LIMIT):
        rr = zr * zr
        ii = zi * zi
        if rr + ii > 4.0:
            return n
        zi = 2.0 * zr * zi + ci
        zr = rr - ii + cr
    return LIMIT


@kernel
def mandelbrot(i, j, left: f64, top: f64, step: f64, out: Out[i32, 2]):
    out[i, j] = escape(left + j * step, top - i * step)
""",
    "julia_f32": """@kernel
def julia_f32(i, j, cr: f32, ci: f32, out: Out[u8, 2]):
    zr = f32(j) / f32(out.shape[1]) * f32(3.0) - f32(1.5)
    zi = f32(i) / f32(out.shape[0]) * f32(3.0) - f32(1.5)
    n = 0
    while n < 255 and zr * zr + zi * zi < f32(4.0):
        t = zr * zr - zi * zi + cr
        zi = f32(2.0) * zr * zi + ci
        zr = t
        n += 1
    out[i, j] = u8(n)
""",
    "matmul_rows": """@kernel
def matmul_rows(i, j, a: In[f32, 2], b: In[f32, 2], c: Out[f32, 2]):
    total = f32(0.0)
    for k in range(a.shape[1]):
        total += a[i, k] * b[k, j]
    c[i, j] = total
""",
    "monte_carlo_call": """@kernel
def monte_carlo_call(
    i,
    seed: u64,
    steps: i32,
    spot: f64,
    strike: f64,
    rate: f64,
    sigma: f64,
    years: f64,
    payoff: Out[f64],
):
    dt = years / steps
    drift = (rate - 0.5 * sigma * sigma) * dt
    spread = sigma * math.sqrt(dt)
    x = 0.0
    for s in range(steps):
        x += drift + spread * normal_f64(seed, i, s)
    payoff[i] = math.exp(-rate * years) * max(spot * math.exp(x) - strike, 0.0)
""",
    "pi_darts": """@kernel
def pi_darts(i, seed: u64, darts: i32, hits: Out[i64]):
    inside = 0
    for s in range(darts):
        a, b, _, _ = philox(seed, i, s)
        x, y = unit_f32(a), unit_f32(b)
        if x * x + y * y < f32(1.0):
            inside += 1
    hits[i] = inside
""",
    "nbody_forces": """SOFTENING = 1e-09


@device
def pull(dx, dy, dz, mass):
    squared = dx * dx + dy * dy + dz * dz + SOFTENING
    scale = mass / (squared * math.sqrt(squared))
    return dx * scale, dy * scale, dz * scale


@kernel
def nbody_forces(i, bodies: In[f64, 2], force: Out[f64, 2]):
    fx = 0.0
    fy = 0.0
    fz = 0.0
    for j in range(len(bodies)):
        if j == i:
            continue
        x, y, z = pull(
            bodies[j, 0] - bodies[i, 0],
            bodies[j, 1] - bodies[i, 1],
            bodies[j, 2] - bodies[i, 2],
            bodies[j, 3],
        )
        fx += x
        fy += y
        fz += z
    force[i, 0], force[i, 1], force[i, 2] = fx, fy, fz
""",
    "knn_nearest": """@kernel
def knn_nearest(i, points: In[f32, 2], queries: In[f32, 2], nearest: Out[i64], far: Out[f32]):
    best = f32(math.inf)
    chosen = -1
    for p in range(points.shape[0]):
        d = f32(0.0)
        for k in range(points.shape[1]):
            e = points[p, k] - queries[i, k]
            d += e * e
        if d < best:
            best = d
            chosen = p
    nearest[i] = chosen
    far[i] = math.sqrt(best)
""",
    "knn_several": """NEIGHBOURS = 8


@device
def insert(found, places, d, p):
    \"\"\"Keeps the least ones in order; ties by place.\"\"\"
    k = NEIGHBOURS - 1
    if d >= found[k]:
        return
    while k > 0 and found[k - 1] > d:
        found[k] = found[k - 1]
        places[k] = places[k - 1]
        k -= 1
    found[k] = d
    places[k] = p


@kernel
def knn_several(i, points: In[f32, 2], queries: In[f32, 2], index: Out[i64, 2]):
    found = cuda.local.array(NEIGHBOURS, f32)
    places = cuda.local.array(NEIGHBOURS, i64)
    for k in range(NEIGHBOURS):
        found[k] = f32(math.inf)
        places[k] = -1
    for p in range(len(points)):
        d = f32(0.0)
        for k in range(points.shape[1]):
            e = points[p, k] - queries[i, k]
            d += e * e
        insert(found, places, d, p)
    for k in range(NEIGHBOURS):
        index[i, k] = places[k]
""",
    "convolution": """@kernel
def convolution(i, j, image: In[f32, 2], mask: In[f32, 2], out: Out[f32, 2]):
    height, width = image.shape
    rows, columns = mask.shape
    total = f32(0.0)
    for r in range(rows):
        y = min(max(i + r - rows // 2, 0), height - 1)
        for c in range(columns):
            x = min(max(j + c - columns // 2, 0), width - 1)
            total += image[y, x] * mask[r, c]
    out[i, j] = total
""",
    "median_of_nine": """@kernel
def median_of_nine(i, j, image: In[u8, 2], out: Out[u8, 2]):
    window = cuda.local.array(9, i32)
    n = 0
    for r in range(-1, 2):
        for c in range(-1, 2):
            y = min(max(i + r, 0), image.shape[0] - 1)
            x = min(max(j + c, 0), image.shape[1] - 1)
            v = i32(image[y, x])
            k = n
            while k > 0 and window[k - 1] > v:
                window[k] = window[k - 1]
                k -= 1
            window[k] = v
            n += 1
    out[i, j] = window[4]
""",
    "grey": """@kernel
def grey(i, j, image: In[u8, 3], out: Out[u8, 2]):
    r = f32(image[i, j, 0])
    g = f32(image[i, j, 1])
    b = f32(image[i, j, 2])
    out[i, j] = u8(f32(0.299) * r + f32(0.587) * g + f32(0.114) * b + f32(0.5))
""",
    "heat_step": """@kernel
def heat_step(i, j, rate: f32, old: In[f32, 2], new: Out[f32, 2]):
    if i == 0 or j == 0 or i == old.shape[0] - 1 or j == old.shape[1] - 1:
        new[i, j] = old[i, j]
        return
    around = old[i - 1, j] + old[i + 1, j] + old[i, j - 1] + old[i, j + 1]
    new[i, j] = old[i, j] + rate * (around - f32(4.0) * old[i, j])
""",
    "life": """@kernel
def life(i, j, old: In[u8, 2], new: Out[u8, 2]):
    h, w = old.shape
    alive = 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            if a != 0 or b != 0:
                alive += old[(i + a) % h, (j + b) % w]
    new[i, j] = 1 if alive == 3 or (alive == 2 and old[i, j] == 1) else 0
""",
    "wave_3d": """@kernel
def wave_3d(i, j, k, c: f32, now: In[f32, 3], before: In[f32, 3], after: Out[f32, 3]):
    inner = 0 < i < now.shape[0] - 1 and 0 < j < now.shape[1] - 1 and 0 < k < now.shape[2] - 1
    if inner:
        lap = now[i - 1, j, k] + now[i + 1, j, k] + now[i, j - 1, k] + now[i, j + 1, k]
        lap += now[i, j, k - 1] + now[i, j, k + 1] - f32(6.0) * now[i, j, k]
        after[i, j, k] = f32(2.0) * now[i, j, k] - before[i, j, k] + c * lap
""",
    "softmax_rows": """@kernel
def softmax_rows(i, x: In[f32, 2], out: Out[f32, 2]):
    top = x[i, 0]
    for k in range(1, x.shape[1]):
        top = max(top, x[i, k])
    total = f32(0.0)
    for k in range(x.shape[1]):
        e = math.exp(x[i, k] - top)
        out[i, k] = e
        total += e
    for k in range(x.shape[1]):
        out[i, k] /= total
""",
    "layer_norm": """@kernel
def layer_norm(i, epsilon: f32, x: In[f32, 2], gain: In[f32], bias: In[f32], out: Out[f32, 2]):
    n = x.shape[1]
    mean = f32(0.0)
    for k in range(n):
        mean += x[i, k]
    mean /= f32(n)
    spread = f32(0.0)
    for k in range(n):
        d = x[i, k] - mean
        spread += d * d
    scale = f32(1.0) / math.sqrt(spread / f32(n) + epsilon)
    for k in range(n):
        out[i, k] = (x[i, k] - mean) * scale * gain[k] + bias[k]
""",
    "gelu": """@kernel(fastmath=True)
def gelu(i, x: In[f32], out: Out[f32]):
    out[i] = f32(0.5) * x[i] * (f32(1.0) + math.erf(x[i] * f32(0.7071067811865476)))
""",
    "black_scholes": """@device
def phi(x):
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@kernel
def black_scholes(i, r: f64, spot: In[f64], strike: In[f64], t: In[f64], v: In[f64], out: Out[f64]):
    spread = v[i] * math.sqrt(t[i])
    d1 = (math.log(spot[i] / strike[i]) + (r + 0.5 * v[i] * v[i]) * t[i]) / spread
    out[i] = spot[i] * phi(d1) - strike[i] * math.exp(-r * t[i]) * phi(d1 - spread)
""",
    "fnv_hash": """PRIME = 1099511628211
START = 14695981039346656037


@kernel
def fnv_hash(i, words: In[u8, 2], out: Out[u64]):
    h = u64(START)
    for k in range(words.shape[1]):
        h = u64((h ^ u64(words[i, k])) * u64(PRIME))
    out[i] = h
""",
    "xorshift": """@kernel
def xorshift(i, rounds: i32, state: In[u32], out: Out[u32]):
    x = u32(state[i])
    for _ in range(rounds):
        x = u32(x ^ u32(x << u32(13)))
        x = u32(x ^ (x >> u32(17)))
        x = u32(x ^ u32(x << u32(5)))
    out[i] = x
""",
    "bits": """@kernel
def bits(i, x: In[u64], y: In[i32], out: Out[i64, 2]):
    out[i, 0] = cuda.popc(x[i])
    out[i, 1] = cuda.clz(x[i])
    out[i, 2] = cuda.ffs(y[i])
    out[i, 3] = i64(cuda.brev(u32(y[i])))
""",
    "prime_count": """@device
def is_prime(n):
    if n < 2:
        return False
    if n % 2 == 0:
        return n == 2
    d = 3
    while d * d <= n:
        if n % d == 0:
            return False
        d += 2
    return True


@kernel
def prime_count(i, span: i64, counts: Out[i32]):
    found = 0
    for n in range(i * span, (i + 1) * span):
        if is_prime(n):
            found += 1
    counts[i] = found
""",
    "collatz": """@kernel
def collatz(i, longest: Out[i32]):
    n = i + 1
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    longest[i] = steps
""",
    "histogram": """@kernel
def histogram(i, low: f32, high: f32, x: In[f32], bins: Out[i32]):
    n = len(bins)
    k = i64((x[i] - low) / (high - low) * f32(n))
    if 0 <= k < n:
        cuda.atomic.add(bins, k, 1)
""",
    "bilinear": """@device
def lerp(a, b, t):
    return a + (b - a) * t


@kernel
def bilinear(i, j, scale: f32, image: In[f32, 2], out: Out[f32, 2]):
    y = f32(i) * scale
    x = f32(j) * scale
    r = min(math.floor(y), image.shape[0] - 2)
    c = min(math.floor(x), image.shape[1] - 2)
    fy = y - f32(r)
    fx = x - f32(c)
    upper = lerp(image[r, c], image[r, c + 1], fx)
    lower = lerp(image[r + 1, c], image[r + 1, c + 1], fx)
    out[i, j] = lerp(upper, lower, fy)
""",
    "ray_sphere": """FAR = 1e+30


@device
def dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@device
def hit(ox, oy, oz, dx, dy, dz, radius):
    b = dot(ox, oy, oz, dx, dy, dz)
    c = dot(ox, oy, oz, ox, oy, oz) - radius * radius
    under = b * b - c
    if under < 0.0:
        return FAR
    t = -b - math.sqrt(under)
    return t if t > 0.0 else FAR


@kernel
def ray_sphere(i, j, radius: f64, depth: Out[f64, 2]):
    h, w = depth.shape
    x = (j + 0.5) / w * 2.0 - 1.0
    y = 1.0 - (i + 0.5) / h * 2.0
    length = math.sqrt(x * x + y * y + 1.0)
    depth[i, j] = hit(0.0, 0.0, -3.0, x / length, y / length, 1.0 / length, radius)
""",
    "dft": """@kernel
def dft(i, real: In[f64], imag: In[f64], out_real: Out[f64], out_imag: Out[f64]):
    n = len(real)
    re, im = 0.0, 0.0
    for k in range(n):
        angle = -math.tau * (i * k % n) / n
        c, s = math.cos(angle), math.sin(angle)
        re += real[k] * c - imag[k] * s
        im += real[k] * s + imag[k] * c
    out_real[i], out_imag[i] = re, im
""",
    "binary_search": """@kernel
def binary_search(i, sorted_keys: In[i64], wanted: In[i64], place: Out[i64]):
    low = 0
    high = len(sorted_keys)
    while low < high:
        middle = (low + high) // 2
        if sorted_keys[middle] < wanted[i]:
            low = middle + 1
        else:
            high = middle
    place[i] = low if low < len(sorted_keys) and sorted_keys[low] == wanted[i] else -1
""",
    "sparse_rows": """@kernel
def sparse_rows(i, starts: In[i32], columns: In[i32], values: In[f32], x: In[f32], y: Out[f32]):
    total = f32(0.0)
    for k in range(starts[i], starts[i + 1]):
        total += values[k] * x[columns[k]]
    y[i] = total
""",
    "pendulum": """@device
def derivative(angle: f64, speed: f64, damping: f64) -> tuple[f64, f64]:
    return speed, -math.sin(angle) - damping * speed


@kernel
def pendulum(i: Index, dt: f64, steps: i32, damping: f64, start: In[f64], out: Out[f64, 2]) -> None:
    a, s = start[i], 0.0
    for _ in range(steps):
        a1, s1 = derivative(a, s, damping)
        a2, s2 = derivative(a + 0.5 * dt * a1, s + 0.5 * dt * s1, damping)
        a += dt * a2
        s += dt * s2
    out[i, 0] = a
    out[i, 1] = s
""",
    "first_below": """@kernel
def first_below(i, limit: f32, x: In[f32, 2], where: Out[i64]):
    k = 0
    while True:
        if k == x.shape[1]:
            found = -1
            break
        if x[i, k] < limit:
            found = k
            break
        k += 1
    where[i] = found
""",
    "every_function": """@kernel
def every_function(i, x: In[f64], out: Out[f64, 2]):
    v = x[i]
    out[i, 0] = math.asin(v) + math.acos(v) + math.atan(v) + math.atan2(v, 2.0) + math.tan(v)
    out[i, 1] = math.sinh(v) + math.cosh(v) + math.tanh(v) + math.asinh(v) + math.atanh(v)
    out[i, 2] = math.acosh(v + 1.0) + math.expm1(v) + math.log1p(v) + math.log2(v) + math.log10(v)
    out[i, 3] = math.gamma(v) + math.lgamma(v) + math.hypot(v, 1.0) + math.copysign(1.0, -v)
    out[i, 4] = math.pow(v, 3.0) + math.fabs(-v) + abs(-v) + float(math.trunc(v)) + math.ceil(v)
    good = math.isfinite(v) and not math.isnan(v) and not math.isinf(v)
    out[i, 5] = float(int(v)) + math.e + math.pi if good and bool(v) else math.nan
    out[i, 6] = cuda.fma(v, 2.0, 1.0) + x.size + x.ndim
""",
    "every_random": """@kernel
def every_random(i, seed: u64, words: Out[u64, 2], reals: Out[f64, 2]):
    words[i, 0] = random_u32(seed, i, 0)
    words[i, 1] = random_u64(seed, i, 1)
    reals[i, 0] = uniform_f32(seed, i, 2)
    reals[i, 1] = uniform_f64(seed, i, 3)
    reals[i, 2] = normal_f32(seed, i, 4)
    reals[i, 3] = normal_f64(seed, i, 5)
""",
}

BLOCKS: Final[dict[str, str]] = {
    "block_sums": """THREADS = 256


@kernel
def block_sums(x: In[f32], sums: Out[f32]):
    part = cuda.shared.array(THREADS, f32)
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    part[t] = x[i] if i < len(x) else f32(0.0)
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if t < step:
            part[t] += part[t + step]
        cuda.syncthreads()
        step //= 2
    if t == 0:
        sums[cuda.blockIdx.x] = part[0]
""",
    "tiled_matmul": """TILE = 16


@kernel
def tiled_matmul(a: In[f32, 2], b: In[f32, 2], c: Out[f32, 2]):
    left = cuda.shared.array((TILE, TILE), f32)
    right = cuda.shared.array((TILE, TILE), f32)
    j, i = cuda.grid(2)
    tx = cuda.threadIdx.x
    ty = cuda.threadIdx.y
    total = f32(0.0)
    for tile in range((a.shape[1] + TILE - 1) // TILE):
        k = tile * TILE
        left[ty, tx] = f32(0.0)
        right[ty, tx] = f32(0.0)
        if i < a.shape[0] and k + tx < a.shape[1]:
            left[ty, tx] = a[i, k + tx]
        if k + ty < b.shape[0] and j < b.shape[1]:
            right[ty, tx] = b[k + ty, j]
        cuda.syncthreads()
        for m in range(TILE):
            total += left[ty, m] * right[m, tx]
        cuda.syncthreads()
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total
""",
    "inclusive_scan": """THREADS = 128


@kernel
def inclusive_scan(x: In[i64], out: Out[i64], totals: Out[i64]):
    part = cuda.shared.array(THREADS, i64)
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    part[t] = x[i] if i < x.size else 0
    cuda.syncthreads()
    step = 1
    while step < THREADS:
        more = part[t - step] if t >= step else 0
        cuda.syncthreads()
        part[t] += more
        cuda.syncthreads()
        step *= 2
    if i < x.size:
        out[i] = part[t]
    if t == THREADS - 1:
        totals[cuda.blockIdx.x] = part[t]
""",
    "bitonic_sort": """THREADS = 256


@kernel
def bitonic_sort(keys: In[u32], out: Out[u32]):
    part = cuda.shared.array(THREADS, u32)
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    part[t] = keys[i]
    cuda.syncthreads()
    size = 2
    while size <= THREADS:
        step = size // 2
        while step > 0:
            other = t ^ step
            if other > t:
                rising = t & size == 0
                if (part[t] > part[other]) == rising:
                    part[t], part[other] = part[other], part[t]
            cuda.syncthreads()
            step //= 2
        size *= 2
    out[i] = part[t]
""",
    "transpose": """ROWS = 8
TILE = 32


@kernel
def transpose(x: In[f32, 2], out: Out[f32, 2]):
    part = cuda.shared.array((TILE, TILE + 1), f32)
    tx = cuda.threadIdx.x
    ty = cuda.threadIdx.y
    j = cuda.blockIdx.x * TILE + tx
    i = cuda.blockIdx.y * TILE + ty
    for r in range(0, TILE, ROWS):
        if i + r < x.shape[0] and j < x.shape[1]:
            part[ty + r, tx] = x[i + r, j]
    cuda.syncthreads()
    j = cuda.blockIdx.y * TILE + tx
    i = cuda.blockIdx.x * TILE + ty
    for r in range(0, TILE, ROWS):
        if i + r < out.shape[0] and j < out.shape[1]:
            out[i + r, j] = part[tx, ty + r]
""",
    "block_histogram": """BINS = 64


@kernel
def block_histogram(x: In[u8], bins: Out[i32]):
    part = cuda.shared.array(BINS, i32)
    t = cuda.threadIdx.x
    for k in range(t, BINS, cuda.blockDim.x):
        part[k] = 0
    cuda.syncthreads()
    for i in range(cuda.grid(1), len(x), cuda.gridsize(1)):
        cuda.atomic.add(part, i64(x[i]) % BINS, 1)
    cuda.syncthreads()
    for k in range(t, BINS, cuda.blockDim.x):
        cuda.atomic.add(bins, k, part[k])
""",
    "dynamic_reverse": """@kernel
def dynamic_reverse(x: In[f64], out: Out[f64]):
    part = cuda.shared.array(0, f64)
    t = cuda.threadIdx.x
    n = cuda.blockDim.x
    base = cuda.blockIdx.x * n
    part[t] = x[base + t]
    cuda.syncthreads()
    out[base + t] = part[n - 1 - t]
""",
    "stencil_1d": """RADIUS = 3
THREADS = 128


@device
def load(x, i):
    return x[i] if 0 <= i < len(x) else f32(0.0)


@kernel
def stencil_1d(x: In[f32], out: Out[f32]):
    part = cuda.shared.array(THREADS + 2 * RADIUS, f32)
    i = cuda.grid(1)
    t = cuda.threadIdx.x + RADIUS
    part[t] = load(x, i)
    if cuda.threadIdx.x < RADIUS:
        part[t - RADIUS] = load(x, i - RADIUS)
        part[t + THREADS] = load(x, i + THREADS)
    cuda.syncthreads()
    total = f32(0.0)
    for k in range(-RADIUS, RADIUS + 1):
        total += part[t + k]
    if i < len(out):
        out[i] = total / f32(2 * RADIUS + 1)
""",
    "atomic_tour": """@kernel
def atomic_tour(x: In[i32], out: Out[i32], mark: Out[u32, 2]):
    i = cuda.grid(1)
    if i < len(x):
        cuda.atomic.add(out, 0, x[i])
        cuda.atomic.sub(out, 1, x[i])
        cuda.atomic.max(out, 2, x[i])
        cuda.atomic.min(out, 3, x[i])
        cuda.atomic.or_(mark, (0, 0), u32(1) << u32(i % 32))
        cuda.atomic.and_(mark, (0, 1), u32(i))
        cuda.atomic.xor(mark, (0, 2), u32(x[i]))
        old = cuda.atomic.cas(out, 4, 0, 1)
        if old == 0:
            cuda.atomic.exch(out, 5, i32(cuda.gridDim.x))
""",
    "grid_stride_3d": """@kernel
def grid_stride_3d(scale: f32, x: In[f32, 3], out: Out[f32, 3]):
    k, j, i = cuda.grid(3)
    sk, sj, si = cuda.gridsize(3)
    for a in range(i, x.shape[0], si):
        for b in range(j, x.shape[1], sj):
            for c in range(k, x.shape[2], sk):
                out[a, b, c] = scale * x[a, b, c]
""",
}

#: All of them.
CORPUS: Final[dict[str, str]] = {**ELEMENT, **BLOCKS}
