// With subgroups of eight: four numbers, from depth p0 on, of each eighth row of `a`, for a lane to load and all to ask
// for.
            var own_a: array<vec4<f32>, $G>;
#ifdef V4
#for g G
            own_a[$g] = a[(a$g + p0) / 4u];
#endfor
#else
            // Past the depth the last number again, as a zero.
            let four = p0 + vec4<u32>(0u, 1u, 2u, 3u);
            let in_depth = four < vec4<u32>(params.depth);
            let o = min(four, vec4<u32>(params.depth - 1u)) * params.a_depth;
#for g G
            own_a[$g] = vec4<f32>(a[a$g + o.x], a[a$g + o.y], a[a$g + o.z], a[a$g + o.w]);
            own_a[$g] = select(vec4<f32>(), own_a[$g], in_depth);
#endfor
#endif
