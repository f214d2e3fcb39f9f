package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// failure is the line of an error; Error is the name of its gRPC code ("Unknown" where it has none).
type failure struct {
	Error   string `json:"error"`
	Message string `json:"message"`
}

// update is the line of one set of SVIDs and bundles.
type update struct {
	SVIDs   []svid         `json:"svids"`
	Bundles map[string]int `json:"bundles"` // trust domain → number of its authorities
}

type svid struct {
	ID        string    `json:"id"`
	Hint      string    `json:"hint"`
	Key       string    `json:"key"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	ChainLen  int       `json:"chain_len"`
	Verified  bool      `json:"verified"` // by the bundle of the same update
	Fault     string    `json:"fault"`    // why it is not
}

func describe(x *workloadapi.X509Context) update {
	line := update{SVIDs: []svid{}, Bundles: map[string]int{}}
	for _, one := range x.SVIDs {
		line.SVIDs = append(line.SVIDs, describeSVID(one, x))
	}
	for _, bundle := range x.Bundles.Bundles() {
		line.Bundles[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	return line
}

func describeSVID(one *x509svid.SVID, x *workloadapi.X509Context) svid {
	leaf := one.Certificates[0]
	line := svid{
		ID:        one.ID.String(),
		Hint:      one.Hint,
		Key:       keyName(leaf.PublicKey),
		Serial:    leaf.SerialNumber.Text(16),
		NotBefore: leaf.NotBefore,
		NotAfter:  leaf.NotAfter,
		ChainLen:  len(one.Certificates),
		Verified:  true,
	}
	if _, _, err := x509svid.Verify(one.Certificates, x.Bundles); err != nil {
		line.Verified, line.Fault = false, err.Error()
	}
	return line
}

func keyName(public any) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return "EC " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return fmt.Sprintf("%T", public)
	}
}
