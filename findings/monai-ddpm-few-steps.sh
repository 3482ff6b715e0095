#!/usr/bin/env bash
# MONAI's DDPM in 50 of 1,000 steps leaves most of the noise in
#
# One would guess: set_timesteps(50) makes each step go from one of the 50 noise levels to the next,
# as it does in diffusers, so that fewer steps cost some diversity and nothing else.
# What happens: step() goes down one level of the 1,000, wherever the next entry of the list is.
# After the last step 950 levels of noise were never taken out, and nothing says so. Here data are
# normal with mean 1 and spread 0.15, and the denoiser is exact: in 50 steps MONAI's samples have
# mean 0.24 and spread 0.80, close to the noise it began with; in 1,000 steps they are right, as are
# those of diffusers in 50. Seen with latents of the same model, it looks like a network that learnt
# nothing.
# Version: monai 1.6.1, diffusers 0.42.1 beside it, torch 2.13.0.
# Source: monai/networks/schedulers/ddpm.py, DDPMScheduler.step: the level before is `timestep - 1`.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" torch==2.13.0 monai==1.6.1 diffusers==0.42.1 numpy==2.4.6

"${python[@]}" - <<'END'
import diffusers
import monai
import torch
from monai.networks.schedulers import DDPMScheduler

MEAN, SPREAD = 1.0, 0.15
BETAS = {"beta_start": 0.0015, "beta_end": 0.0195}


def sample(scheduler, steps):
    """Draw 4,000 numbers with the denoiser that knows the distribution."""
    scheduler.set_timesteps(steps)
    random = torch.Generator().manual_seed(0)
    x = torch.randn((4000, 1), generator=random)
    for level in scheduler.timesteps:
        a = scheduler.alphas_cumprod[level]
        gain = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a)
        clean = MEAN + gain * (x - a.sqrt() * MEAN)
        noise = (x - a.sqrt() * clean) / (1 - a).sqrt()
        x = scheduler.step(noise, int(level), x, generator=random)[0]
    return round(x.mean().item(), 2), round(x.std().item(), 2)


def of_monai():
    return DDPMScheduler(1000, schedule="scaled_linear_beta", clip_sample=False, **BETAS)


def of_diffusers():
    return diffusers.DDPMScheduler(
        1000, beta_schedule="scaled_linear", clip_sample=False, **BETAS
    )


print(f"monai {monai.__version__}, diffusers {diffusers.__version__}, torch {torch.__version__}")
print(f"data: mean {MEAN}, spread {SPREAD}")
few, all_ = sample(of_monai(), 50), sample(of_monai(), 1000)
other = sample(of_diffusers(), 50)
print("monai,       50 steps: mean %.2f, spread %.2f" % few)
print("monai,     1000 steps: mean %.2f, spread %.2f" % all_)
print("diffusers,   50 steps: mean %.2f, spread %.2f" % other)
if not (few[0] < 0.5 and few[1] > 0.5):
    raise SystemExit("CHANGED: 50 steps of MONAI's DDPM arrive at the data")
if not all(abs(mean - MEAN) < 0.02 and spread < 0.2 for mean, spread in (all_, other)):
    raise SystemExit("CHANGED: what arrived at the data does no more")
print("as described: only MONAI's 50 steps end in noise")
END
