import { describe, expect, it } from 'vitest'
import {
  classifyExit,
  type Evidence,
  type GenerationExit,
} from '../../../../src/infra/generation/progress/failure.ts'
import { createOutputReader } from '../../../../src/infra/generation/progress/output-reader.ts'

const clean: GenerationExit = { code: 0, signal: null, error: null, reason: null }
const exited = (code: number): GenerationExit => ({ ...clean, code })
const died = (signal: string): GenerationExit => ({ ...clean, code: null, signal })
const nothing: Evidence = { finished: false }

/** Evidence as it is read from what was written to stderr. */
function evidenceOf(stderr: string): Evidence {
  const reader = createOutputReader({ totalSteps: 50, startedAt: 0 })
  reader.feed('stderr', Buffer.from(stderr))
  reader.end()
  return reader.evidence
}

const traceback = (error: string) =>
  `Traceback (most recent call last):\n  File "generate.py", line 575, in <module>\n${error}\n`

const thisProcess =
  'CUDA out of memory. Tried to allocate 4.06 GiB. GPU 0 has a total capacity of 23.64 GiB of ' +
  'which 1.20 GiB is free. Including non-PyTorch memory, this process has 22.43 GiB memory in use.'
const otherProcesses =
  'CUDA out of memory. Tried to allocate 4.06 GiB. GPU 0 has a total capacity of 23.64 GiB of ' +
  'which 1.20 GiB is free. Process 4711 has 9.00 GiB memory in use.'

describe('the end of a generation', () => {
  it('is no failure when the exit is clean', () => {
    expect(classifyExit(clean, { finished: true })).toBeUndefined()
  })

  it('is no failure when memory ran out but the run went on and ended well', () => {
    const evidence = evidenceOf(traceback(`torch.OutOfMemoryError: ${thisProcess}`))
    expect(evidence.errorLine).toContain('out of memory')
    expect(classifyExit(clean, evidence)).toBeUndefined()
  })

  it.each([
    ['out_of_memory', `torch.OutOfMemoryError: ${thisProcess}`],
    ['out_of_memory', `torch.cuda.OutOfMemoryError: ${otherProcesses}`],
    ['out_of_memory', 'RuntimeError: CUDA error: out of memory'],
    ['environment_broken', "ModuleNotFoundError: No module named 'decord'"],
    ['environment_broken', 'ImportError: libcudnn.so.9: cannot open shared object file'],
    ['environment_broken', 'RuntimeError: Found no NVIDIA driver on your system. Please check'],
    ['environment_broken', '    assert FLASH_ATTN_2_AVAILABLE\nAssertionError'],
    [
      'checkpoint_missing',
      "FileNotFoundError: [Errno 2] No such file or directory: '/m/models_t5_umt5-xxl-enc-bf16.pth'",
    ],
    [
      'checkpoint_missing',
      "FileNotFoundError: [Errno 2] No such file or directory: '/m/Wan2.2_VAE.pth'",
    ],
    [
      'checkpoint_missing',
      'OSError: Error no file named diffusion_pytorch_model.bin found in directory /m.',
    ],
    ['checkpoint_missing', "_pickle.UnpicklingError: invalid load key, 'v'."],
    ['gpu_error', 'RuntimeError: CUDA error: an illegal memory access was encountered'],
    ['gpu_error', 'RuntimeError: CUDA error: device-side assert triggered'],
    ['gpu_error', 'RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'],
    ['gpu_error', 'RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublas'],
    ['gpu_error', 'torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:317'],
    ['gpu_error', 'NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.'],
    [
      'generation_failed',
      "FileNotFoundError: [Errno 2] No such file or directory: '/data/inputs/cat.png'",
    ],
    ['generation_failed', "TypeError: 'NoneType' object is not subscriptable"],
    ['generation_failed', 'AssertionError: Please specify the checkpoint directory.'],
  ])('is %s after %j', (code, error) => {
    const quoted = error.split('\n')[0]?.trim()
    for (const stderr of [traceback(error), traceback(error).replaceAll(/^(?=.)/gm, '[rank7]: ')]) {
      const failure = classifyExit(exited(1), evidenceOf(stderr))
      expect(failure).toEqual({ code, exitCode: 1, message: expect.stringContaining(`${quoted}`) })
    }
  })

  it('does not take the noise of a library for a failure of the GPU', () => {
    const noise =
      'E0000 cuda_dnn.cc:8310] Unable to register cuDNN factory\nNCCL version 2.21.5+cuda12.4\n'
    const evidence = evidenceOf(noise + traceback('ValueError: odd'))
    expect(classifyExit(exited(1), evidence)?.code).toBe('generation_failed')
  })

  it('is out of memory whatever else was said after that', () => {
    const stderr =
      traceback(`torch.OutOfMemoryError: ${thisProcess}`) +
      traceback('RuntimeError: NCCL error: unhandled cuda error')
    expect(classifyExit(exited(1), evidenceOf(stderr))).toMatchObject({
      code: 'out_of_memory',
      message: expect.stringContaining(thisProcess),
    })
  })

  it('names what to do when memory ran out', () => {
    const failure = classifyExit(exited(1), { ...nothing, raised: thisProcess })
    expect(failure?.message).toContain('--offload_model True --convert_model_dtype --t5_cpu')
    expect(failure?.message).toContain('WAN_EXTRA_ARGS')
    expect(failure?.message.endsWith(`: ${thisProcess}`)).toBe(true)
  })

  it('is out of memory when that kept the video from being saved, with exit 0', () => {
    const evidence = { finished: true, saveError: thisProcess }
    expect(classifyExit(clean, evidence)).toMatchObject({ code: 'out_of_memory', exitCode: 0 })
  })

  it.each(['[Errno 13] Permission denied', 'None', ''])(
    'is no output when the video was not saved for "%s", with exit 0',
    (saveError) => {
      const failure = classifyExit(clean, { finished: true, saveError })
      expect(failure).toMatchObject({ code: 'no_output', exitCode: 0 })
      expect(failure?.message).toMatch(saveError ? `: ${saveError}` : /\.$/)
    },
  )

  it.each([
    ['resources_exhausted', 'OSError: [Errno 24] Too many open files'],
    ['resources_exhausted', 'BlockingIOError: [Errno 11] Resource temporarily unavailable'],
    ['resources_exhausted', "RuntimeError: can't start new thread"],
    ['resources_exhausted', 'MemoryError'],
    [
      'resources_exhausted',
      "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
    ],
    ['environment_broken', 'OSError: [Errno 116] Stale file handle'],
    ['environment_broken', 'OSError: [Errno 30] Read-only file system'],
    ['environment_broken', 'OSError: [Errno 5] Input/output error'],
    ['disk_full', 'OSError: [Errno 122] Disk quota exceeded'],
  ])('is %s after "%s", which is no fault of the job', (code, error) => {
    const failure = classifyExit(exited(1), evidenceOf(traceback(error)))
    expect(failure).toMatchObject({ code, message: expect.stringContaining(error) })
  })

  it.each([
    ['fork: [Errno 11] Resource temporarily unavailable', 'resources_exhausted'],
    ['cannot start: [Errno 24] Too many open files', 'resources_exhausted'],
    ['spawn python3 ENOMEM', 'resources_exhausted'],
    ['cannot enter /wan: Transport endpoint is not connected', 'environment_broken'],
  ])('says what has run out when nothing could be started: %s', (error, code) => {
    expect(classifyExit({ ...clean, code: null, error }, nothing)).toMatchObject({ code })
  })

  it.each(['[Errno 32] Broken pipe', "[Errno 11] Resource temporarily unavailable: 'ffmpeg'"])(
    'is for want of resources when the encoder ended with "%s", with exit 0',
    (saveError) => {
      const failure = classifyExit(clean, { finished: true, saveError })
      expect(failure).toMatchObject({ code: 'resources_exhausted' })
    },
  )

  it('is for want of threads when a library says so before it crashes', () => {
    const errorLine = 'OpenBLAS blas_thread_init: pthread_create: Resource temporarily unavailable'
    const evidence = evidenceOf(`${errorLine}\nSome other line\n`)
    expect(classifyExit(died('SIGSEGV'), evidence)?.code).toBe('resources_exhausted')
  })

  it('is not blamed on the environment because a prompt in the log speaks of it', () => {
    const lastLine =
      '[2026-01-01 00:00:00] INFO: Input prompt: ENOSPC, Errno 24, Input/output error'
    const evidence = evidenceOf(`${lastLine}\n`)
    expect(classifyExit(exited(1), evidence)?.code).toBe('generation_failed')
    expect(classifyExit(died('SIGSEGV'), evidence)?.code).toBe('killed')
  })

  it('is a timeout when it was stopped for that, whatever it said', () => {
    const evidence = evidenceOf(traceback('RuntimeError: CUDA error: unspecified'))
    expect(classifyExit({ ...died('SIGTERM'), reason: 'timeout' }, evidence)).toMatchObject({
      code: 'timeout',
      signal: 'SIGTERM',
      message: expect.stringContaining('JOB_TIMEOUT_S'),
    })
  })

  it('names any other reason for which it was stopped', () => {
    expect(classifyExit({ ...died('SIGTERM'), reason: 'shutdown' }, nothing)).toEqual({
      code: 'killed',
      signal: 'SIGTERM',
      message: 'The generation was stopped (shutdown).',
    })
  })

  it('is a broken environment when nothing could be started', () => {
    const error = "[Errno 2] No such file or directory: 'python3'"
    expect(classifyExit({ ...clean, code: null, error }, nothing)).toEqual({
      code: 'environment_broken',
      message: `The generation could not be started; check WAN_PYTHON and WAN_DIR: ${error}`,
    })
  })

  it('is invalid arguments with exit 2, though an argument may hold any text', () => {
    const lastLine =
      "generate.py: error: argument --task: invalid choice: 'CUDA out of memory' (choose from ...)"
    expect(classifyExit(exited(2), { ...nothing, raised: lastLine })).toEqual({
      code: 'invalid_arguments',
      exitCode: 2,
      message: expect.stringContaining(lastLine),
    })
    expect(classifyExit(exited(2), nothing)?.code).toBe('invalid_arguments')
  })

  it.each([
    ['this checkout has no sample_neg_prompt for the negative_prompt'],
    ['unrecognized arguments: --negative_prompt=owls at night'],
  ])('says what to do about a negative prompt that is refused, without its words: %s', (raised) => {
    const failure = classifyExit(exited(2), { ...nothing, raised })
    expect(failure?.code).toBe('invalid_arguments')
    expect(failure?.message).toContain('submit the job without it')
    expect(failure?.message).not.toContain('owls')
  })

  it('is a broken environment when there is no script, also with exit 2', () => {
    const lastLine =
      "python3: can't open file '/opt/Wan2.2/generate.py': [Errno 2] No such file or directory"
    expect(classifyExit(exited(2), { ...nothing, raised: lastLine })?.code).toBe(
      'environment_broken',
    )
  })

  it('is killed when a signal ended it, and names the signal', () => {
    const failure = classifyExit(died('SIGSEGV'), { ...nothing, crash: 'Segmentation fault' })
    expect(failure).toEqual({
      code: 'killed',
      signal: 'SIGSEGV',
      message: 'The generation was ended by SIGSEGV: Segmentation fault',
    })
  })

  const notices = [
    '[2025-12-27 09:15:13,421] INFO: Generating video ...',
    'UserWarning: the error is ignored',
    'WARNING:wan:failed to load xformers, ImportError: no module',
    ' 12%|█▏        | 6/50 [00:22<18:02, 22.08s/it]',
    'Loading checkpoint shards: 67%|██████▋   | 2/3 [00:05<00:00,  1.71s/it]',
  ]

  it.each(notices)('does not blame a harmless line: %s', (notice) => {
    const reader = createOutputReader({ totalSteps: 50, startedAt: 0 })
    reader.feed('stdout', Buffer.from(`[2025-12-27 09:15:13,421] INFO: Generating video ...\n`))
    reader.feed('stderr', Buffer.from(`${notice}\n`))
    reader.end()
    const { evidence } = reader
    for (const [exit, message] of [
      [died('SIGSEGV'), 'The generation was ended by SIGSEGV.'],
      [exited(139), 'generate.py failed with exit code 139.'],
      [exited(1), 'generate.py failed with exit code 1.'],
      [{ ...clean, code: null }, 'Nobody saw how the generation ended.'],
      [{ ...died('SIGTERM'), reason: 'shutdown' }, 'The generation was stopped (shutdown).'],
    ] as const) {
      expect(classifyExit(exit, evidence)?.message).toBe(message)
    }
    for (const exit of [died('SIGKILL'), { ...died('SIGTERM'), reason: 'timeout' }]) {
      expect(classifyExit(exit, evidence)?.message).not.toContain(notice)
    }
  })

  it('says of a line that words no error only that it was the last, and of a crash not even that', () => {
    const evidence = evidenceOf('Please log in first\n')
    expect(classifyExit(exited(1), evidence)?.message).toBe(
      'generate.py failed with exit code 1. The last line of its error output is: Please log in first',
    )
    expect(classifyExit(died('SIGBUS'), evidence)?.message).toBe(
      'The generation was ended by SIGBUS.',
    )
  })

  it('blames a line that words an error when there is no traceback', () => {
    const evidence = evidenceOf('bash: python3: command not found\n')
    expect(classifyExit(exited(127), evidence)?.message).toBe(
      'generate.py failed with exit code 127: bash: python3: command not found',
    )
  })

  it('quotes an exception after which the process crashed on its way out', () => {
    const stderr = `${traceback('ValueError: odd')}terminate called without an active exception\n`
    expect(classifyExit(died('SIGABRT'), evidenceOf(stderr))?.message).toBe(
      'The generation was ended by SIGABRT: ValueError: odd',
    )
  })

  it.each([died('SIGKILL'), exited(137)])('points at the memory of the host after %j', (exit) => {
    const failure = classifyExit(exit, nothing)
    expect(failure?.code).toBe('killed')
    expect(failure?.message).toMatch(/SIGKILL.* host runs out of memory/)
  })

  it('is a failure of the GPU when a fault of it made the process abort', () => {
    const stderr =
      "terminate called after throwing an instance of 'c10::Error'\n" +
      '  what():  CUDA error: unspecified launch failure\nAborted\n'
    expect(classifyExit(died('SIGABRT'), evidenceOf(stderr))).toMatchObject({
      code: 'gpu_error',
      signal: 'SIGABRT',
    })
  })

  it.each<[how: string, exit: GenerationExit, evidence: Evidence]>([
    [
      'could not be started',
      { ...clean, code: null, error: 'ENOSPC: no space left on device, write' },
      nothing,
    ],
    [
      'could not save its video',
      clean,
      { finished: true, saveError: '[Errno 28] No space left on device' },
    ],
    [
      'could not save its video for another reason than it says',
      clean,
      { finished: true, saveError: '[Errno 32] Broken pipe', diskFull: true },
    ],
    [
      'could not write',
      exited(1),
      evidenceOf(traceback('OSError: [Errno 28] No space left on device')),
    ],
    ['could not even say so', exited(1), { finished: false, diskFull: true }],
  ])('is for want of room when it %s on a full disk', (_how, exit, evidence) => {
    expect(classifyExit(exit, evidence)).toMatchObject({
      code: 'disk_full',
      message: expect.stringContaining('DATA_DIR'),
    })
  })

  it('is not blamed on a full disk when it has another reason', () => {
    const evidence = evidenceOf(traceback(`torch.OutOfMemoryError: ${thisProcess}`))
    expect(classifyExit(exited(1), { ...evidence, diskFull: true })?.code).toBe('out_of_memory')
    expect(classifyExit(clean, { finished: true, diskFull: true })).toBeUndefined()
  })

  it('is lost when nobody saw it', () => {
    expect(classifyExit({ ...clean, code: null }, nothing)?.code).toBe('lost')
  })

  it('is a plain failure with any other exit', () => {
    expect(classifyExit(exited(3), nothing)).toEqual({
      code: 'generation_failed',
      exitCode: 3,
      message: 'generate.py failed with exit code 3.',
    })
  })
})
