//go:build !seed

package mtls

const planted = noSeed
