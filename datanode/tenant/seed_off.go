//go:build !seed

package tenant

const planted = noSeed
