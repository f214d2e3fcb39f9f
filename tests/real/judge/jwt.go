package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// token is the line of one JWT-SVID, as the Workload API itself and as its bundles judge it.
type token struct {
	ID       string    `json:"id"`
	Hint     string    `json:"hint"`
	Audience []string  `json:"audience"`
	Expiry   time.Time `json:"expiry"`
	Keys     int       `json:"keys"`     // in the JWT bundle of its trust domain
	Verified bool      `json:"verified"` // by that bundle, here
	Accepted string    `json:"accepted"` // the ID that ValidateJWTSVID gives
	Foreign  string    `json:"foreign"`  // the code of ValidateJWTSVID for another audience
}

// judgeTokens fetches the JWT-SVIDs for one audience and reports whether they were had.
func judgeTokens(ctx context.Context, o options, out *json.Encoder) bool {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	lines, err := tokens(ctx, o)
	for _, line := range lines {
		if err := out.Encode(line); err != nil {
			panic(err)
		}
	}
	if err != nil {
		code := status.Code(err)
		if ctx.Err() != nil {
			code = codes.DeadlineExceeded
		}
		if err := out.Encode(failure{Error: code.String(), Message: err.Error()}); err != nil {
			panic(err)
		}
	}
	return err == nil
}

func tokens(ctx context.Context, o options) ([]token, error) {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(o.socket))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	params := jwtsvid.Params{Audience: o.audience}
	if o.id != "" {
		if params.Subject, err = spiffeid.FromString(o.id); err != nil {
			return nil, err
		}
	}
	svids, err := client.FetchJWTSVIDs(ctx, params)
	if err != nil {
		return nil, err
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return nil, err
	}
	lines := []token{}
	for _, one := range svids {
		line := token{ID: one.ID.String(), Hint: one.Hint, Audience: one.Audience, Expiry: one.Expiry}
		if bundle, ok := bundles.Get(one.ID.TrustDomain()); ok {
			line.Keys = len(bundle.JWTAuthorities())
		}
		_, err := jwtsvid.ParseAndValidate(one.Marshal(), bundles, []string{o.audience})
		line.Verified = err == nil
		if again, err := client.ValidateJWTSVID(ctx, one.Marshal(), o.audience); err == nil {
			line.Accepted = again.ID.String()
		}
		_, err = client.ValidateJWTSVID(ctx, one.Marshal(), "somebody-else")
		line.Foreign = status.Code(err).String()
		lines = append(lines, line)
	}
	return lines, nil
}
