package loadgen

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets whose width is at most a 32nd of their value; below 32 us a
// bucket is one microsecond wide.
type Histogram struct {
	counts [64 * subBuckets]int64
	total  int64
	max    time.Duration
}

const (
	subBits    = 5
	subBuckets = 1 << subBits
)

func bucket(us uint64) int {
	shift := max(bits.Len64(us)-subBits-1, 0)
	return shift*subBuckets + int(us>>shift)
}

// upper is the largest number of microseconds that falls into a bucket.
func upper(i int) uint64 {
	shift := max(i/subBuckets-1, 0)
	return uint64(i-shift*subBuckets+1)<<shift - 1
}

// Add counts a duration n times.
func (h *Histogram) Add(d time.Duration, n int64) {
	h.counts[bucket(uint64(max(d.Microseconds(), 0)))] += n
	h.total += n
	h.max = max(h.max, d)
}

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share q (0 to 1) of all didn't exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := int64(q * float64(h.total))
	for i, n := range h.counts {
		if left -= n; left < 0 {
			return min(time.Duration(upper(i))*time.Microsecond, h.max)
		}
	}
	return h.max
}
