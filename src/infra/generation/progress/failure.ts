/** Tells what went wrong with a generation, from how its process ended and what it said last. */
import { environmentFaultIn, saysDiskFull, saysExhausted } from '../../../domain/failures.ts'
import type { Failure, FailureCode } from '../../../domain/job.ts'
import { type LastWords, namesError } from './last-words.ts'

export type GenerationExit = Readonly<{
  code: number | null
  signal: string | null
  /** Why the process could not be started. */
  error: string | null
  /** Why we stopped it, if we did. */
  reason: string | null
}>

/** What the output of a generation tells about its end. */
export type Evidence = Readonly<{
  /** Why the video could not be saved, which the exit code does not tell. May be empty. */
  saveError?: string
  /** `Finished.` was logged, as it is even after a failed save. */
  finished: boolean
  /** The error of the last traceback, or what argparse refused. */
  raised?: string
  /** A line of stderr that explains a failure even if others came after it. */
  errorLine?: string
  /** There was no room left when it ended. Then what it tried to say about that may be lost too. */
  diskFull?: boolean
}> &
  LastWords

/** What went wrong, or undefined when the exit itself is clean (the file must still be checked). */
export function classifyExit(exit: GenerationExit, evidence: Evidence): Failure | undefined {
  const { code, signal, error, reason } = exit
  const { saveError, errorLine, diskFull, said } = evidence
  const cause = causeOf(exit, evidence)

  if (error !== null) {
    const fault = environmentFaultIn(error) ?? 'environment_broken'
    return failure(fault, meaningOfFault[fault] ?? notStarted, error)
  }
  // We have stopped it: nothing that it said before is the cause.
  if (reason === 'timeout') return failure('timeout', tookTooLong)
  if (code === 0) {
    if (saveError === undefined) return undefined
    if (outOfMemory.test(saveError)) return failure('out_of_memory', memoryRanOut, saveError)
    if (diskFull || saysDiskFull(saveError)) {
      return failure('disk_full', roomRanOut, saveError || undefined)
    }
    if (saysExhausted(saveError)) {
      return failure('resources_exhausted', resourcesRanOut, saveError)
    }
    if (brokenPipe.test(saveError)) return failure('resources_exhausted', encoderEnded, saveError)
    return failure('no_output', notSaved, saveError || undefined)
  }
  const stopped = reason === null ? undefined : stoppedByShim.get(reason)
  if (stopped) return failure(stopped.code, stopped.meaning)
  if (reason !== null) return failure('killed', `The generation was stopped (${reason})`)
  if (code === 2 && cause && negativePromptRefused.test(cause)) {
    return failure('invalid_arguments', noNegativePrompt)
  }
  // 2 is the exit of argparse, but also of a Python that finds no script.
  if (code === 2 && !(cause && scriptMissing.test(cause))) {
    return failure('invalid_arguments', argumentsRefused, cause)
  }
  if (cause && saysDiskFull(cause)) return failure('disk_full', roomRanOut, cause)
  for (const sign of signs) {
    for (const line of [cause, errorLine, saveError]) {
      if (line && sign.pattern.test(line)) return failure(sign.code, sign.meaning, line)
    }
  }
  for (const line of [cause, errorLine, saveError]) {
    const fault = line === undefined ? undefined : environmentFaultIn(line)
    if (fault) return failure(fault, meaningOfFault[fault] ?? placesFail, line)
  }
  // Nobody has time for last words before SIGKILL.
  if (signal === 'SIGKILL' || code === 137) return failure('killed', killed)
  if (signal !== null) return failure('killed', `The generation was ended by ${signal}`, cause)
  if (code === null) return failure('lost', 'Nobody saw how the generation ended')
  if (diskFull) return failure('disk_full', roomRanOut, cause)
  const meaning = `generate.py failed with exit code ${code}`
  if (cause || !said) return failure('generation_failed', meaning, cause)
  return failure('generation_failed', `${meaning}. The last line of its error output is`, said)

  function failure(failureCode: FailureCode, meaning: string, line?: string): Failure {
    return {
      code: failureCode,
      message: line ? `${meaning}: ${line}` : `${meaning}.`,
      ...(code !== null && { exitCode: code }),
      ...(signal !== null && { signal }),
    }
  }
}

/** The line that may be given as the reason: not merely the last, which is innocent as a rule. */
function causeOf(
  { signal }: GenerationExit,
  { raised, crash, said }: Evidence,
): string | undefined {
  if (raised !== undefined) return raised
  // A process that a signal ends says no more than its runtime does.
  if (signal !== null || crash !== undefined) return crash
  return said !== undefined && namesError(said) ? said : undefined
}

/**
 * How much a line of stderr tells about a failure whatever comes after it: after these, ranks,
 * destructors and torchrun go on to complain about what follows from them.
 */
export function weightOf(line: string): 0 | 1 | 2 {
  if (outOfMemory.test(line)) return 2
  const isExplanation = gpuFault.test(line) || flashAttentionMissing.test(line)
  return isExplanation || (saysExhausted(line) && !isLogLine.test(line)) ? 1 : 0
}

/** Not an error, and it may quote the prompt: nobody's prompt may stop the queue. */
const isLogLine = /\b(?:DEBUG|INFO)\b/

// The texts of Python and torch, each as its author words it.

/** `torch.OutOfMemoryError: CUDA out of memory. Tried …` and `RuntimeError: CUDA error: out of memory`. */
const outOfMemory = /CUDA (?:error: )?out of memory/

/** A bare `AssertionError` follows it, so it is the source line of the traceback that tells. */
const flashAttentionMissing = /assert FLASH_ATTN_\d_AVAILABLE/

/** A dependency that is absent, or a shared library of one. */
const moduleMissing = /\b(?:ModuleNotFoundError|ImportError): /

/** `Found no NVIDIA driver on your system`, or one that is too old; or a torch for the CPU only. */
const driverMissing = /NVIDIA driver on your system|cudaGetDeviceCount|not compiled with CUDA/

/** In the words of our launcher, or of argparse when there is none. */
const negativePromptRefused = /no sample_neg_prompt for|unrecognized arguments: --negative_prompt=/

/** Python's own words, with exit 2. */
const scriptMissing = /can't open file '.*\.py'/

/**
 * A file of the checkpoint that is absent; the tokenizer's folder, whose path transformers then takes
 * for a name on the hub; or a file that is cut short or a git-lfs pointer.
 */
const checkpointBroken =
  /No such file or directory: '.*\.(?:pth|safetensors|json)'|no file named diffusion_pytorch_model|Error: .*umt5-xxl|UnpicklingError|SafetensorError|PytorchStreamReader failed/

/** The encoder is a process of its own, and it has ended. */
const brokenPipe = /\[Errno 32\]|Broken pipe/

/** Only as errors: libraries also name cuDNN and NCCL in harmless warnings. */
const gpuFault =
  /CUDA error|device-side assert|(?:cuDNN|cuBLAS|NCCL) error|(?:CUDNN|CUBLAS)_STATUS_|\bnccl[A-Z]\w*Error|\bXid\b|No CUDA GPUs are available/

const memoryRanOut =
  'The GPU ran out of memory; put --offload_model True --convert_model_dtype --t5_cpu into ' +
  'WAN_EXTRA_ARGS, or ask for fewer frames'
const roomRanOut = 'A disk was full; make room where DATA_DIR and RESULTS_DIR are'
const resourcesRanOut =
  'The machine ran out of processes, threads, memory or open files; look at its limits (ulimit, ' +
  'pids.max of the container) and at what uses them up'
const placesFail =
  'A file system or a connection between processes failed; check the disks of WAN_DIR, ' +
  'WAN_CKPT_DIR and DATA_DIR'
const notStarted = 'The generation could not be started; check WAN_PYTHON and WAN_DIR'
const tookTooLong =
  'The generation was stopped because it took too long; raise JOB_TIMEOUT_S, or ask for fewer ' +
  'frames or steps'
const encoderEnded =
  'The video was generated but its encoder ended before it was saved, as when the machine runs out ' +
  'of processes or memory'
const notSaved =
  'The video was generated but could not be saved; check the free space and the permissions of ' +
  'DATA_DIR'
const argumentsRefused = 'generate.py refused its arguments; check WAN_TASK and WAN_EXTRA_ARGS'
const noNegativePrompt =
  'The checkout of Wan2.2 takes no negative_prompt, or WAN_LAUNCHER is 0; submit the job without it'
const killed =
  'The generation was ended by SIGKILL, as when the host runs out of memory; check its kernel ' +
  'log, and lower MAX_CONCURRENT_LOADS'

/** Reasons for which the shim stops a generation by itself (`work_files.py`). */
const stoppedByShim: ReadonlyMap<
  string,
  Readonly<{ code: FailureCode; meaning: string }>
> = new Map([
  [
    'directory_removed',
    {
      code: 'lost',
      meaning:
        'The work directory of the generation was removed while it ran; keep other programs out of ' +
        'DATA_DIR',
    },
  ],
  [
    'no_room',
    {
      code: 'disk_full',
      meaning:
        'The disk was almost full and the generation wrote large files, so it was stopped; make room ' +
        'where DATA_DIR is',
    },
  ],
  [
    'too_many_files',
    {
      code: 'generation_failed',
      meaning:
        'The generation wrote more than 8 GiB or 10,000 files into its work directory and was ' +
        'stopped; check WAN_DIR for changes',
    },
  ],
])

/** In the order in which they win. */
const signs: readonly Readonly<{ code: FailureCode; pattern: RegExp; meaning: string }>[] = [
  { code: 'out_of_memory', pattern: outOfMemory, meaning: memoryRanOut },
  {
    code: 'environment_broken',
    pattern: flashAttentionMissing,
    meaning:
      'flash-attn is not installed, which Wan2.2 cannot do without; install it, or set WAN_SDPA=1',
  },
  {
    code: 'environment_broken',
    pattern: moduleMissing,
    meaning: 'The Python environment lacks a package; install it for WAN_PYTHON',
  },
  {
    code: 'environment_broken',
    pattern: driverMissing,
    meaning: 'torch cannot use a GPU here; check the NVIDIA driver and the torch build',
  },
  {
    code: 'environment_broken',
    pattern: scriptMissing,
    meaning: 'There is no generate.py to run; check WAN_DIR',
  },
  {
    code: 'checkpoint_missing',
    pattern: checkpointBroken,
    meaning: 'The checkpoint is incomplete or damaged; download it again into WAN_CKPT_DIR',
  },
  {
    code: 'gpu_error',
    pattern: gpuFault,
    meaning: 'The GPU failed; if it happens again, look for Xid in the kernel log and restart it',
  },
]

const meaningOfFault: Partial<Record<FailureCode, string>> = {
  disk_full: roomRanOut,
  resources_exhausted: resourcesRanOut,
}
